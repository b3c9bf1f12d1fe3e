#include "scheduler/policy/rank_groups.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "scheduler/plan/layout.h"

namespace ballast::scheduler {

int GroupRound::num_ranks() const {
  int result = 0;
  for (const RankGroup& group : groups) result += group.num_ranks;
  return result;
}

void RankGroup::add(std::int64_t sequence, std::int64_t length) {
  sequences.push_back(sequence);
  tokens += length;
  most_tokens += (length + num_ranks - 1) / num_ranks;
  load += group_load(length, num_ranks);
}

std::int64_t RankGroup::remove_last(std::span<const std::int64_t> lengths) {
  const std::int64_t sequence = sequences.back();
  const std::int64_t length = lengths[sequence];
  sequences.pop_back();
  tokens -= length;
  most_tokens -= (length + num_ranks - 1) / num_ranks;
  load -= group_load(length, num_ranks);
  return sequence;
}

double group_load(std::int64_t length, int num_ranks) {
  return static_cast<double>(length) * static_cast<double>(length) / num_ranks;
}

int group_size(const PlacementRequest& request, std::int64_t sequence, std::int64_t budget, const char* policy) {
  const std::int64_t length = request.lengths[sequence];
  const std::int64_t num_ranks = request.topology.num_ranks();
  const std::int64_t needed = (length + budget - 1) / budget;
  if (needed > num_ranks) {
    throw InfeasiblePlan(
        fmt::format("policy {}: sequence {} of {} tokens needs {} ranks of {} tokens, but there are {}; raise tokens_per_rank or "
                    "shorten the documents",
                    policy, sequence, length, needed, budget, num_ranks));
  }
  std::int64_t size = 1;
  while (size < needed) size *= 2;
  return static_cast<int>(std::min(size, num_ranks));
}

bool fill_free_ranks(GroupRound& round, int num_ranks) {
  int num_free = num_ranks - round.num_ranks();
  while (num_free > 0) {
    const auto smallest = std::min_element(round.groups.begin(), round.groups.end(),
                                           [](const RankGroup& a, const RankGroup& b) { return a.num_ranks < b.num_ranks; });
    if (smallest == round.groups.end()) return false;
    const int added = std::min(2 * smallest->num_ranks, num_ranks) - smallest->num_ranks;
    if (added > num_free) return false;
    smallest->load *= static_cast<double>(smallest->num_ranks) / (smallest->num_ranks + added);
    smallest->num_ranks += added;
    num_free -= added;
  }
  return true;
}

std::vector<AttentionWork> rings_of(const GroupRound& round, const PlacementRequest& request) {
  std::vector<AttentionWork> work;
  int first_rank = 0;
  for (const RankGroup& group : round.groups) {
    std::vector<int> ranks(group.num_ranks);
    std::iota(ranks.begin(), ranks.end(), first_rank);
    for (const std::int64_t s : group.sequences) {
      work.push_back(Ring{s, ranks, equal_shares(request.lengths[s], group.num_ranks)});
    }
    first_rank += group.num_ranks;
  }
  return work;
}

std::vector<FormedMicroBatch> as_micro_batches(const std::vector<GroupRound>& rounds, const PlacementRequest& request) {
  std::vector<FormedMicroBatch> formed;
  for (const GroupRound& round : rounds) {
    FormedMicroBatch micro_batch;
    for (const RankGroup& group : round.groups) {
      micro_batch.sequences.insert(micro_batch.sequences.end(), group.sequences.begin(), group.sequences.end());
    }
    micro_batch.placement.work = rings_of(round, request);
    formed.push_back(std::move(micro_batch));
  }
  return formed;
}

Placement merged(const std::vector<GroupRound>& rounds, const PlacementRequest& request, const char* policy) {
  Placement placement;
  for (const GroupRound& round : rounds) {
    for (AttentionWork& ring : rings_of(round, request)) placement.work.push_back(std::move(ring));
  }
  const std::string advice = fmt::format(
      "its rule forms {} micro-batches of this one, which training merges; raise the cap or lower "
      "tokens_per_micro_batch, or use planner mode",
      rounds.size());
  require_cap(request, placement.work, policy, advice.c_str());
  return placement;
}

}  // namespace ballast::scheduler
