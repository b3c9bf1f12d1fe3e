#pragma once
// What a pass of one attention layer means in messages and compute tasks. Runtime, simulator and the agreement test between them
// all read this.
#include <cstdint>
#include <vector>

#include "scheduler/plan/attention_slices.h"

namespace ballast::scheduler {

enum class Pass : char { kForward, kBackward };

/// What a parcel carries, as rows of one head: [head_dim] elements. Rows are ordered by token, then query (output) heads; keys
/// and values: by token, the key heads that the slice's query heads read, then as many value heads.
enum class Payload : char {
  kQuery,
  kKeyValue,
  kOutput,
  kOutputGradient,
  kQueryGradient,
  kKeyValueGradient,  ///< sums in float32 or wider
};

/// Tokens of one slice that go from rank src to rank dst. src == dst is a copy, not a message.
struct Parcel {
  Payload payload = Payload::kQuery;
  int slice = 0;   ///< index into the slices of the micro-batch
  int member = 0;  ///< of the slice: whose queries or keys these are
  int src = 0;
  int dst = 0;
  Chunk chunk;
  std::int64_t num_rows = 0;
  bool operator==(const Parcel&) const = default;
};

enum class Stage : char {
  kDispatch,         ///< homes -> members. Forward: queries, keys, values. Backward: output gradients
  kRotate,           ///< member -> next member: keys and values of the block at hand
  kRotateGradients,  ///< backward: sums of key and value gradients follow their block, and at the end return to its owner
  kReturn,           ///< members -> homes. Forward: outputs. Backward: query gradients and, of a layer's own keys, theirs
};

/// One group of point-to-point messages as one rank sees it. Parcels of one (src, dst) pair make one message, in list order.
/// Both ends list them in the same order: by (slice, payload, member, chunk).
struct AttentionExchange {
  Stage stage = Stage::kDispatch;
  int queue = 0;
  int round = 0;  ///< of kRotate, 1 .. G - 1: what the tasks of this round need; of kRotateGradients, 1 .. G
  std::vector<Parcel> sends;     ///< sorted by (dst, as above)
  std::vector<Parcel> receives;  ///< sorted by (src, as above)
  bool operator==(const AttentionExchange&) const = default;
};

/// Attention of a member's queries over the keys of member `key_member` of the same slice, hidden parts left out.
struct BlockTask {
  int queue = 0;
  int round = 0;  ///< 0: its own keys
  int slice = 0;
  int member = 0;
  int key_member = 0;
  std::int64_t num_pairs = 0;  ///< visible (query, key) pairs of one head
  bool operator==(const BlockTask&) const = default;
};

/// One rank's part of a pass. A rank starts its exchanges in list order, each as soon as the ones before it are started and what
/// it sends is there; it runs its tasks in list order (strict) or the first one that is ready (work-conserving).
///  kDispatch needs the projections (forward) or the output's gradient (backward); kRotate of round r what round r - 1 brought;
///  kRotateGradients of round r the tasks of round r - 1 and what its round r - 1 brought; kReturn all tasks of its queue and, in
///  backward, the last kRotateGradients. A task of round 0 needs the queue's kDispatch, one of round r its kRotate.
struct RankAttention {
  std::vector<AttentionExchange> exchanges;  ///< those in which the rank sends or receives something, copies to itself included
  std::vector<BlockTask> tasks;
  bool operator==(const RankAttention&) const = default;
};

/// How the layer uses keys and values.
enum class KeyValueUse : char {
  kOwn,      ///< it makes them: dispatched forward, their gradients (of all readers) returned backward
  kForeign,  ///< an earlier layer's, which the members still hold; gradients stay with the members until that layer's backward
};

/// Head counts of the model.
struct HeadCounts {
  int query = 1;
  int key_value = 1;  ///< divides query
};

/// The expansion of one micro-batch. Queues, in order of execution: for the cluster zone one per slice of a head part (all first
/// slices, all second ones, ...; other cluster slices are in the first), then the node zone, then the local zone. All dispatches
/// come first, in order of queues; then queue by queue its rounds and its return. Blocks that nobody later on the ring sees are
/// neither computed nor sent on.
class AttentionExpansion {
 public:
  /// Cost: linear in the number of parcels. Input: a valid plan's micro-batch; what is given may be destroyed afterwards.
  AttentionExpansion(const MicroBatch& micro_batch, HeadCounts heads, const std::vector<int>& node_of_rank);

  const std::vector<AttentionSlice>& slices() const { return slices_; }
  int num_queues() const;
  /// Cost: linear in the rank's own part.
  RankAttention rank(int rank, Pass pass, KeyValueUse use = KeyValueUse::kOwn) const;

 private:
  std::vector<AttentionSlice> slices_;
};

}  // namespace ballast::scheduler
