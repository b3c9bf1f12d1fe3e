#pragma once
#include <cstdint>
#include <vector>

#include "scheduler/policy/policy.h"

namespace ballast::scheduler {

/// Documents in arrival order: rank 0 is filled to its tokens, then rank 1; a document that crosses a border is cut and goes on
/// behind it. All ranks that hold a part of it are one ring, shares as cut: every part is a head piece and the mirrored tail
/// piece, so that equal parts cost the same. Tokens are even, attention is what arrival order makes it. A rank is filled to
/// tokens_per_rank, the token cap if that is smaller, or the mean if that is 0 or too little for the micro-batch.
/// Cost: linear in documents and ranks. Throws: InfeasiblePlan when the micro-batch has more tokens than all ranks may hold.
/// Source: input-balanced packing, as DistCA starts (arXiv 2510.18121).
Placement place_sequential(const PlacementRequest& request);

/// The rings of that rule, in arrival order, ranks filled to `tokens_per_rank`. 0, or too little for the micro-batch: to floor or
/// ceil of the mean, the spare tokens on the first ranks.
std::vector<Ring> rings_in_arrival_order(const PlacementRequest& request, std::int64_t tokens_per_rank);

}  // namespace ballast::scheduler
