#include "scheduler/policy/hybrid_dp.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "scheduler/cost/seconds.h"
#include "scheduler/plan/layout.h"

namespace ballast::scheduler {

namespace {

constexpr double kSlack = 0.05;  ///< of the longest time: how far below it a rank is a target

/// The `degree` targets that take the next sequence, ascending.
std::vector<int> choose_targets(const std::vector<double>& seconds, int degree) {
  const int num_ranks = static_cast<int>(seconds.size());
  const double longest = *std::max_element(seconds.begin(), seconds.end());
  std::vector<char> is_target(num_ranks);
  int num_targets = 0;
  for (int r = 0; r < num_ranks; ++r) {
    is_target[r] = longest - seconds[r] > kSlack * longest;
    num_targets += is_target[r];
  }
  if (num_targets < degree) std::fill(is_target.begin(), is_target.end(), 1);

  int best_first = -1;
  double best_seconds = 0;
  int run = 0;  // targets that end at r
  for (int r = 0; r < num_ranks; ++r) {
    run = is_target[r] ? run + 1 : 0;
    if (run < degree) continue;
    const double largest = *std::max_element(seconds.begin() + (r - degree + 1), seconds.begin() + (r + 1));
    if (best_first < 0 || largest < best_seconds) {
      best_first = r - degree + 1;
      best_seconds = largest;
    }
  }
  std::vector<int> chosen;
  if (best_first >= 0) {
    chosen.resize(degree);
    std::iota(chosen.begin(), chosen.end(), best_first);
    return chosen;
  }
  for (int r = 0; r < num_ranks; ++r) {
    if (is_target[r]) chosen.push_back(r);
  }
  std::sort(chosen.begin(), chosen.end(),
            [&](int a, int b) { return seconds[a] != seconds[b] ? seconds[a] < seconds[b] : a < b; });
  chosen.resize(degree);
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

std::int64_t rank_capacity(const PlacementRequest& request) { return std::min(request.token_budget(), request.token_cap); }

/// A ring for each sequence, in the order of placement: largest degree first, then longest first.
std::vector<Ring> rings(const PlacementRequest& request) {
  const int num_ranks = request.topology.num_ranks();
  const std::int64_t capacity = rank_capacity(request);
  const CostRates rates = cost_rates(request.model, request.topology);
  std::vector<double> seconds(num_ranks, 0.0);
  std::vector<Ring> result;
  for (const std::int64_t s : longest_first_order(request)) {
    const std::int64_t length = request.lengths[s];
    const std::int64_t degree = (length + capacity - 1) / capacity;
    if (degree > num_ranks) {
      throw InfeasiblePlan(fmt::format(
          "policy hybrid_dp: sequence {} of {} tokens needs {} ranks of {} tokens (the smaller of tokens_per_rank and "
          "token_cap_per_rank), but there are {}; raise both, or shorten the documents",
          s, length, degree, capacity, num_ranks));
    }
    Ring ring{s, choose_targets(seconds, static_cast<int>(degree)), equal_shares(length, static_cast<int>(degree))};
    for (const int rank : ring.ranks) seconds[rank] += rates.sequence_seconds(length) / static_cast<double>(degree);
    result.push_back(std::move(ring));
  }
  return result;
}

}  // namespace

Placement place_hybrid_dp(const PlacementRequest& request) {
  require_room(request, "hybrid_dp");
  Placement placement;
  for (Ring& ring : rings(request)) placement.work.push_back(std::move(ring));
  require_cap(request, placement.work, "hybrid_dp",
              "its rule levels time, not tokens, over several micro-batches; raise the cap or lower tokens_per_micro_batch");
  return placement;
}

std::vector<FormedMicroBatch> form_hybrid_dp(const PlacementRequest& request) {
  const std::int64_t capacity = rank_capacity(request);
  std::vector<FormedMicroBatch> formed;
  std::vector<std::vector<std::int64_t>> held;  // by micro-batch and rank
  for (Ring& ring : rings(request)) {
    const auto has_room = [&](const std::vector<std::int64_t>& tokens) {
      for (std::size_t i = 0; i < ring.ranks.size(); ++i) {
        if (tokens[ring.ranks[i]] + ring.shares[i] > capacity) return false;
      }
      return true;
    };
    std::size_t m = 0;
    while (m < held.size() && !has_room(held[m])) ++m;
    if (m == held.size()) {
      held.emplace_back(request.topology.num_ranks(), 0);
      formed.emplace_back();
    }
    for (std::size_t i = 0; i < ring.ranks.size(); ++i) held[m][ring.ranks[i]] += ring.shares[i];
    formed[m].sequences.push_back(ring.sequence);
    formed[m].placement.work.push_back(std::move(ring));
  }
  return formed;
}

}  // namespace ballast::scheduler
