#pragma once
// Groups of consecutive ranks that share sequences: what the packing rules of Megatron-LM build.
#include <cstdint>
#include <span>
#include <vector>

#include "scheduler/policy/policy.h"

namespace ballast::scheduler {

/// Ranks that compute the same sequences, each in equal shares.
struct RankGroup {
  int num_ranks = 1;
  std::vector<std::int64_t> sequences;  ///< in the order in which they run
  std::int64_t tokens = 0;              ///< of all its sequences
  std::int64_t most_tokens = 0;         ///< that a member may hold: each sequence's share rounded up
  double load = 0;                      ///< of each member: sum of length^2 / num_ranks

  void add(std::int64_t sequence, std::int64_t length);

  /// Takes its last sequence out. Returns: that sequence.
  std::int64_t remove_last(std::span<const std::int64_t> lengths);
};

/// One micro-batch: groups side by side from rank 0 on. Ranks behind the last group are free.
struct GroupRound {
  std::vector<RankGroup> groups;

  int num_ranks() const;
};

/// Load of a sequence on each of `num_ranks` ranks: length^2 / num_ranks.
double group_load(std::int64_t length, int num_ranks);

/// Ranks that a sequence is given: the smallest power of two whose members hold at most `budget` tokens each, or all ranks if
/// that is more than there are. Throws: InfeasiblePlan when even all ranks are too few.
int group_size(const PlacementRequest& request, std::int64_t sequence, std::int64_t budget, const char* policy);

/// While ranks are free, doubles the first group of the smallest size; later groups shift to the right. A group never grows
/// beyond all ranks. Returns: false when a doubling would need more ranks than are free; what was doubled before stays so.
bool fill_free_ranks(GroupRound& round, int num_ranks);

/// Rings of a round, in the order of groups.
std::vector<AttentionWork> rings_of(const GroupRound& round, const PlacementRequest& request);

/// Rounds as micro-batches of their own.
std::vector<FormedMicroBatch> as_micro_batches(const std::vector<GroupRound>& rounds, const PlacementRequest& request);

/// All rounds in one micro-batch, on the same ranks one after the other. Throws: InfeasiblePlan when that exceeds the token cap.
Placement merged(const std::vector<GroupRound>& rounds, const PlacementRequest& request, const char* policy);

}  // namespace ballast::scheduler
