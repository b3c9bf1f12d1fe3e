#pragma once
// The one form to which every kind of attention work comes down: heads of a sequence on members that hold queries and keys.
#include <cstdint>
#include <vector>

#include "scheduler/plan/plan.h"
#include "scheduler/topology/topology.h"

namespace ballast::scheduler {

/// How far the keys of a slice travel. The order is the order of execution: the slowest transfers start first.
enum class Zone : char { kCluster, kNode, kLocal };

/// Query heads [head_begin, head_end) of one sequence.
/// With several members the keys partition the sequence and travel round the ring: in round r member i attends to the keys of
/// member (i - r) mod G, which it got from member i - 1. A single member holds every key that its queries see.
struct AttentionSlice {
  std::int64_t sequence = 0;
  int head_begin = 0;
  int head_end = 0;
  Zone zone = Zone::kLocal;
  std::vector<int> ranks;
  std::vector<std::vector<Chunk>> queries;  ///< by member; ascending, not touching, empty chunks left out
  std::vector<std::vector<Chunk>> keys;     ///< by member; the same form
  bool operator==(const AttentionSlice&) const = default;
};

/// Every piece of work of a micro-batch as slices, sorted by (zone, sequence, head, first query).
///  Ring: one slice. HeadRing: each part, cut further by whole heads into at most `max_slices_per_part` slices, so that attention
///  can start with the first of them. HeadAllToAll: for each member and sequence a slice with that member's heads, alone.
///  AllGather, TaskSet: for each member or task a slice of all heads, alone, whose keys reach from 0 to its last query.
/// The zone of a slice is that of its farthest transfer, those from and to the homes included.
/// Cost: linear in the size of the result.
std::vector<AttentionSlice> attention_slices(const MicroBatch& micro_batch, int num_heads, const std::vector<int>& node_of_rank,
                                             int max_slices_per_part = 4);

/// True if some query of `queries` sees some key of `keys`: the last query is not before the first key.
bool sees(const std::vector<Chunk>& queries, const std::vector<Chunk>& keys);

}  // namespace ballast::scheduler
