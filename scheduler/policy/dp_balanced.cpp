#include "scheduler/policy/dp_balanced.h"

#include <fmt/format.h>

#include <algorithm>

#include "scheduler/policy/rank_groups.h"

namespace ballast::scheduler {

namespace {

constexpr const char* kName = "dp_balanced";

/// Ranks of the smallest equal groups whose members hold at most `budget` tokens of the longest document, or all ranks.
int ranks_of_a_group(const PlacementRequest& request, std::int64_t budget) {
  const int num_ranks = request.topology.num_ranks();
  std::int64_t longest = 0;
  for (const std::int64_t s : request.sequences) longest = std::max(longest, request.lengths[s]);
  const std::int64_t least = (longest + num_ranks - 1) / num_ranks;
  if (least > request.token_cap) {
    throw InfeasiblePlan(
        fmt::format("policy {}: a document of {} tokens needs {} on each of {} ranks, but token_cap_per_rank is {}; raise it",
                    kName, longest, least, num_ranks, request.token_cap));
  }
  int size = 1;
  while (size < num_ranks && (num_ranks % size != 0 || budget * size < longest)) ++size;
  return size;
}

std::vector<GroupRound> rounds(const PlacementRequest& request) {
  const std::int64_t budget = std::min(request.token_budget(), request.token_cap);
  const int size = ranks_of_a_group(request, budget);
  const std::size_t num_groups = request.topology.num_ranks() / size;
  std::vector<RankGroup> packs;
  const auto open_pack = [&](std::int64_t first) {
    packs.push_back({size, {}, 0, 0, 0});
    packs.back().add(first, request.lengths[first]);
  };
  for (const std::int64_t s : request.sequences) {
    const std::int64_t length = request.lengths[s];
    // Besides the published limit the cap itself, as exact shares differ by a token.
    if (packs.empty() || packs.back().tokens + length > budget * size ||
        packs.back().most_tokens + (length + size - 1) / size > request.token_cap) {
      open_pack(s);
    } else {
      packs.back().add(s, length);
    }
  }
  const std::size_t num_packs = (packs.size() + num_groups - 1) / num_groups * num_groups;
  for (std::size_t j = packs.size(); j-- > 0;) {
    while (packs[j].sequences.size() > 1 && packs.size() < num_packs) open_pack(packs[j].remove_last(request.lengths));
  }
  std::vector<GroupRound> result;
  for (std::size_t j = 0; j < packs.size(); ++j) {
    if (j % num_groups == 0) result.emplace_back();
    result.back().groups.push_back(std::move(packs[j]));
  }
  return result;
}

}  // namespace

Placement place_dp_balanced(const PlacementRequest& request) {
  require_room(request, kName);
  return merged(rounds(request), request, kName);
}

std::vector<FormedMicroBatch> form_dp_balanced(const PlacementRequest& request) {
  return as_micro_batches(rounds(request), request);
}

}  // namespace ballast::scheduler
