#include "scheduler/policy/megatron_dcp.h"

#include <algorithm>
#include <limits>

#include "scheduler/policy/rank_groups.h"

namespace ballast::scheduler {

namespace {

constexpr const char* kName = "megatron_dcp";
constexpr double kLoadSlack = 1.05;  ///< of the load limit over the longest sequence's

/// Places what one micro-batch takes of `waiting`, longest first, and leaves the rest there.
GroupRound next_round(const PlacementRequest& request, std::int64_t budget, std::vector<std::int64_t>& waiting) {
  const int num_ranks = request.topology.num_ranks();
  const double limit = kLoadSlack * static_cast<double>(request.lengths[waiting.front()]) * static_cast<double>(budget);
  const auto has_room = [&](const RankGroup& group, std::int64_t length) {
    // Besides the published limit the cap itself, as exact shares differ by a token.
    return group.tokens + length <= budget * group.num_ranks &&
           group.most_tokens + (length + group.num_ranks - 1) / group.num_ranks <= request.token_cap;
  };
  GroupRound round;
  int num_free = num_ranks;
  std::vector<std::int64_t> left_over;
  for (const std::int64_t s : waiting) {
    const std::int64_t length = request.lengths[s];
    const int smallest_size = group_size(request, s, budget, kName);
    // The largest load of all ranks but those of one group: the largest, or the second for the group that has the largest.
    double largest = 0, second = 0;
    std::size_t largest_at = 0;
    for (std::size_t g = 0; g < round.groups.size(); ++g) {
      if (round.groups[g].load > largest) {
        second = largest;
        largest = round.groups[g].load;
        largest_at = g;
      } else {
        second = std::max(second, round.groups[g].load);
      }
    }
    constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();
    std::size_t best = kNone;  // a group, or one past the last for free ranks
    int best_size = 0;
    double best_load = 0;
    const auto offer = [&](std::size_t g, int size, double load) {
      if (best != kNone && load >= best_load) return;
      best = g;
      best_size = size;
      best_load = load;
    };
    for (int size = smallest_size;; size = std::min(2 * size, num_ranks)) {
      const double added = group_load(length, size);
      for (std::size_t g = 0; g < round.groups.size(); ++g) {
        const RankGroup& group = round.groups[g];
        if (group.num_ranks != size || !has_room(group, length)) continue;
        offer(g, size, std::max(group.load + added, g == largest_at ? second : largest));
      }
      if (num_free >= size) offer(round.groups.size(), size, std::max(added, largest));
      if (size == num_ranks) break;
    }
    // The first sequence is placed whatever its load: left over, it would wait for ever.
    if (best == kNone || (best_load > limit && !round.groups.empty())) {
      left_over.push_back(s);
      continue;
    }
    if (best == round.groups.size()) {
      round.groups.push_back({round.groups.empty() ? smallest_size : best_size, {}, 0, 0, 0});
      num_free -= round.groups.back().num_ranks;
    }
    round.groups[best].add(s, length);
  }
  if (fill_free_ranks(round, num_ranks)) {
    waiting = std::move(left_over);
    return round;
  }
  RankGroup all{num_ranks, {}, 0, 0, 0};
  left_over.clear();
  for (const std::int64_t s : waiting) {
    if (has_room(all, request.lengths[s])) {
      all.add(s, request.lengths[s]);
    } else {
      left_over.push_back(s);
    }
  }
  waiting = std::move(left_over);
  return {{std::move(all)}};
}

std::vector<GroupRound> rounds(const PlacementRequest& request) {
  const std::int64_t budget = std::min(request.token_budget(), request.token_cap);
  std::vector<std::int64_t> waiting = longest_first_order(request);
  std::vector<GroupRound> result;
  while (!waiting.empty()) result.push_back(next_round(request, budget, waiting));
  return result;
}

}  // namespace

Placement place_megatron_dcp(const PlacementRequest& request) {
  require_room(request, kName);
  return merged(rounds(request), request, kName);
}

std::vector<FormedMicroBatch> form_megatron_dcp(const PlacementRequest& request) {
  return as_micro_batches(rounds(request), request);
}

}  // namespace ballast::scheduler
