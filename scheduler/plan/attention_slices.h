#pragma once
// The one form to which every kind of attention work comes down: heads of a sequence on members that hold queries and keys.
#include <cstdint>
#include <optional>
#include <vector>

#include "scheduler/plan/home_index.h"
#include "scheduler/plan/plan.h"

namespace ballast::scheduler {

/// Head counts of the model.
struct HeadCounts {
  int query = 1;
  int key_value = 1;  ///< divides query
};

/// How far the keys of a slice travel. The order is the order of execution: the slowest transfers start first.
enum class Zone : char { kCluster, kNode, kLocal };

/// Query heads [head_begin, head_end) of one sequence.
/// With several members the keys are split over them and travel round the ring: in round r member i attends to the keys of member
/// (i - r) mod G, which it got from member i - 1. A single member holds every key that its queries see.
/// Keys that no query of the slice sees, and members that have neither queries nor keys, are left out.
struct AttentionSlice {
  std::int64_t sequence = 0;
  int head_begin = 0;
  int head_end = 0;
  int wave = 0;  ///< position among the slices of a head part; 0 for every other slice
  Zone zone = Zone::kLocal;
  std::vector<int> ranks;
  std::vector<std::vector<Chunk>> queries;  ///< by member; ascending, not touching, empty chunks left out
  std::vector<std::vector<Chunk>> keys;     ///< by member; the same form
  bool operator==(const AttentionSlice&) const = default;
};

/// Attention of a head part starts with the first of at most so many slices.
inline constexpr int kMostSlicesPerPart = 4;

/// Every piece of work of a micro-batch as slices, sorted by (zone, sequence, head, first query). Each has a query.
///  Ring: one slice. HeadRing: each part, cut further into at most `max_slices_per_part` slices, so that attention can start with
///  the first of them; cuts are where the key/value head changes, so that no key goes to a part twice. HeadAllToAll: for each
///  member and sequence a slice with that member's heads, alone. AllGather, TaskSet: for each rank and sequence a slice of all
///  heads, alone, whose keys reach from 0 to its last query.
/// The zone of a slice is that of its farthest pair of ranks, homes and members, between which something travels.
/// With `only_rank`, only slices of which that rank is a member or a home of the sequence, in the same order.
/// Input: a valid plan's micro-batch; nodes of all ranks; the micro-batch's homes, with `only_rank` those of its
/// sequences_of_rank at least. Cost: linear in the result and its transfers, plus sorting; one pass over the work of all ranks.
std::vector<AttentionSlice> attention_slices(const MicroBatch& micro_batch, HeadCounts heads,
                                             const std::vector<int>& node_of_rank, const HomeIndex& homes,
                                             int max_slices_per_part, std::optional<int> only_rank);
/// The same for all ranks. Cost: as above, and sorting of homes.
std::vector<AttentionSlice> attention_slices(const MicroBatch& micro_batch, HeadCounts heads,
                                             const std::vector<int>& node_of_rank, int max_slices_per_part = kMostSlicesPerPart);

/// Slices of the head part that is cut in most, at most kMostSlicesPerPart; 1 without head parts. Every wave is below it.
int most_waves(const MicroBatch& micro_batch, HeadCounts heads);

/// By sequence: whether a rank is a home of some of its tokens or a member of its work.
std::vector<bool> sequences_of_rank(const MicroBatch& micro_batch, int rank);

/// Key/value heads [key_head_begin, key_head_end) that the query heads of a slice read.
int key_head_begin(const AttentionSlice& slice, HeadCounts heads);
int key_head_end(const AttentionSlice& slice, HeadCounts heads);

/// True if some query of `queries` sees some key of `keys`: the last query is not before the first key.
/// Input: lists in the form of a slice's.
bool sees(const std::vector<Chunk>& queries, const std::vector<Chunk>& keys);

/// Number of (query, key) pairs of the two lists in which the key is not after the query.
std::int64_t num_visible_pairs(const std::vector<Chunk>& queries, const std::vector<Chunk>& keys);

}  // namespace ballast::scheduler
