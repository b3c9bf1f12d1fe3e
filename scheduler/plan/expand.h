#pragma once
// What a pass of one attention layer means in messages and compute tasks. Runtime, simulator and the agreement test between them
// all read this.
#include <cstdint>
#include <optional>
#include <vector>

#include "scheduler/plan/attention_slices.h"
#include "scheduler/plan/home_index.h"

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

/// Tokens of one slice that go from rank src to rank dst, contiguous at both ends: inside one chunk of the home, and inside one
/// chunk of the member's queries or keys. src == dst is a copy, not a message; it is listed among sends and receives.
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
  kRotateGradients,  ///< backward: sums of the key and value gradients of all members but the owner follow their block, and go
                     ///< from the last of them to the owner, who adds them to its own
  kReturn,           ///< members -> homes. Forward: outputs. Backward: query gradients and, of a layer's own keys, theirs
};

/// One group of point-to-point messages as one rank sees it. Parcels of one (src, dst) pair make one message, in list order.
/// Both ends list them in the same order: by (slice, payload, member, chunk).
struct AttentionExchange {
  Stage stage = Stage::kDispatch;
  int queue = 0;
  int round = 0;                 ///< of kRotate, 1 .. G - 1: what the tasks of this round need; of kRotateGradients, 2 .. G
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
///  kDispatch needs the projections (forward) or the output's gradient (backward); kRotate of round 1 the keys, which the queue's
///  kDispatch brought in the forward pass, of round r what round r - 1 brought; kRotateGradients of round r the tasks of round
///  r - 1 and what its round r - 1 brought; kReturn all tasks of its queue and, in backward, its last kRotateGradients.
///  A task of round 0 needs the queue's kDispatch, one of round r also its kRotate.
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

/// The expansion of one micro-batch. Queues, in order of execution: for the cluster zone, if any, one per wave (the first slices
/// of all head parts and every other cluster slice, the second slices, ...; most_waves), then the node zone, then the local zone.
/// Order of exchanges, the same on every rank: all dispatches, in order of queues; then queue by queue its rounds (kRotate before
/// kRotateGradients of the same round) and its return. The first kRotate of a queue comes before the last kRotateGradients and
/// the return of the queue before it, so that it travels while that queue's last tasks run. A block travels as far as the last
/// member on its way that sees it; who sees nothing of it passes it on.
class AttentionExpansion {
 public:
  /// Input: a valid plan's micro-batch, homes of all ranks included; what is given may be destroyed afterwards.
  /// Cost: linear in the number of parcels of dispatch and return and in the members of slices, plus sorting of homes.
  AttentionExpansion(const MicroBatch& micro_batch, HeadCounts heads, const std::vector<int>& node_of_rank);
  /// For one rank alone, which is all that rank() may be asked for: slices in which it has no part are left out, so slices and
  /// queues count otherwise than for all ranks, in the same order. Cost: as above for its slices; one pass over all work and
  /// homes.
  AttentionExpansion(const MicroBatch& micro_batch, HeadCounts heads, const std::vector<int>& node_of_rank, int only_rank);

  const std::vector<AttentionSlice>& slices() const { return slices_; }
  /// Queues in which nothing is to do included.
  int num_queues() const { return num_queues_; }
  /// Queue of a slice.
  int queue(int slice) const;
  /// Whether a queue is of the cluster zone.
  bool is_cluster_queue(int queue) const { return queue < num_queues() - 2; }
  /// Cost: linear in the rank's own part, plus sorting.
  RankAttention rank(int rank, Pass pass, KeyValueUse use = KeyValueUse::kOwn) const;

 private:
  class Collector;
  /// Tokens that are with one member and have one home.
  struct Piece {
    std::int64_t begin = 0;
    std::int64_t end = 0;
    int seat = 0;
    int home = 0;
  };
  /// Pieces by seat, and for every rank those that it is home to.
  struct Pieces {
    std::vector<Piece> pieces;
    std::vector<int> first_of_seat;
    std::vector<int> by_home;
    std::vector<int> first_of_home;
  };
  /// One member of one slice.
  struct Seat {
    int slice = 0;
    int member = 0;
    int first_viewer = 0;  ///< nearest member after this one, in hops, that sees its keys; 0 if none does
    int last_viewer = 0;   ///< the farthest one
  };

  AttentionExpansion(const MicroBatch& micro_batch, HeadCounts heads, const std::vector<int>& node_of_rank,
                     const HomeIndex& homes, std::optional<int> only_rank);
  void add_viewers(int first_seat);
  int position(Stage stage, int queue, int round) const;

  HeadCounts heads_;
  std::vector<AttentionSlice> slices_;
  std::vector<Seat> seats_;         ///< by slice, then member
  std::vector<int> seats_by_rank_;  ///< indices into seats_
  std::vector<int> first_of_rank_;  ///< into seats_by_rank_
  Pieces query_pieces_;
  Pieces key_pieces_;
  int num_queues_ = 0;
  int most_rounds_ = 0;  ///< of any work of the micro-batch, so that one rank's expansion has the order of all
};

}  // namespace ballast::scheduler
