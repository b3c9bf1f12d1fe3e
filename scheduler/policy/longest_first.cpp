#include "scheduler/policy/longest_first.h"

#include <fmt/format.h>

#include <queue>
#include <tuple>

#include "scheduler/cost/seconds.h"

namespace ballast::scheduler {

namespace {

/// Places every sequence on the rank of least key; `key(length)` is what a sequence adds. Returns false if one finds no room.
template <typename Key>
bool place_by(const PlacementRequest& request, const std::vector<std::int64_t>& order, const Key& key, Placement& placement,
              std::int64_t& refused) {
  using Entry = std::tuple<double, int>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue;
  const int num_ranks = request.topology.num_ranks();
  std::vector<std::int64_t> held(num_ranks, 0);
  for (int r = 0; r < num_ranks; ++r) queue.emplace(0.0, r);
  placement.work.clear();
  std::vector<Entry> full;
  for (const std::int64_t s : order) {
    const std::int64_t length = request.lengths[s];
    full.clear();
    while (!queue.empty() && held[std::get<1>(queue.top())] + length > request.token_cap) {
      full.push_back(queue.top());
      queue.pop();
    }
    if (queue.empty()) {
      refused = s;
      return false;
    }
    const auto [load, rank] = queue.top();
    queue.pop();
    held[rank] += length;
    queue.emplace(load + key(length), rank);
    for (const Entry& entry : full) queue.push(entry);
    placement.work.push_back(Ring{s, {rank}, {length}});
  }
  return true;
}

}  // namespace

Placement place_longest_first(const PlacementRequest& request) {
  require_room(request, "longest_first");
  const std::vector<std::int64_t> order = longest_first_order(request);
  const CostRates rates = cost_rates(request.model, request.topology);
  Placement placement;
  std::int64_t refused = 0;
  const auto cost = [&](std::int64_t length) { return rates.sequence_seconds(length); };
  const auto tokens = [](std::int64_t length) { return static_cast<double>(length); };
  if (place_by(request, order, cost, placement, refused) || place_by(request, order, tokens, placement, refused))
    return placement;
  throw InfeasiblePlan(
      fmt::format("policy longest_first: no rank has room for sequence {} of {} tokens (micro-batch: {} sequences, {} tokens, {} "
                  "ranks, token_cap_per_rank {}); "
                  "raise the cap or choose a policy that cuts sequences",
                  refused, request.lengths[refused], request.sequences.size(), request.num_tokens(), request.topology.num_ranks(),
                  request.token_cap));
}

}  // namespace ballast::scheduler
