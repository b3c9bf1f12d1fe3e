#pragma once
// A micro-batch that is one ring: every sequence, padded to equal chunks, on the same ranks.
#include <cstdint>
#include <optional>
#include <vector>

#include "scheduler/plan/expand.h"

namespace ballast::scheduler {

/// What all sequences of such a micro-batch are together. Every member does the same in every round, so nothing is said of
/// members or sequences.
struct SymmetricRing {
  std::vector<int> ranks;
  Zone zone = Zone::kNode;
  std::int64_t tokens = 0;       ///< of one member, charged ones
  std::int64_t own_pairs = 0;    ///< of one head: its queries on its own keys
  std::int64_t other_pairs = 0;  ///< on those of any other member
};

/// The ring, if all work is rings of equal shares on the same ranks, at least two, whose sequences are charged in multiples of
/// twice the ranks, and tokens are at home where attention has them. `charged_tokens` by sequence of the step; empty: no ring.
/// Cost: linear in the micro-batch.
std::optional<SymmetricRing> symmetric_ring(const MicroBatch& micro_batch, const std::vector<std::int64_t>& charged_tokens,
                                            const std::vector<int>& node_of_rank);

/// The slice that stands for all of them.
AttentionSlice symmetric_slice(const SymmetricRing& ring, HeadCounts heads);

/// A member's part of a pass as AttentionExpansion gives it, all sequences in one parcel and one task of each round. With fewer
/// rounds than members the rest is left out: the last gradients then go to the next member as all others do.
RankAttention symmetric_attention(const SymmetricRing& ring, int member, HeadCounts heads, Pass pass, KeyValueUse use,
                                  int num_rounds);

}  // namespace ballast::scheduler
