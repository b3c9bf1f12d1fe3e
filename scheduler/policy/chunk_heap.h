#pragma once
#include "scheduler/policy/policy.h"

namespace ballast::scheduler {

/// Documents in arrival order make one pack, which is cut in equal chunks of 512 tokens whatever documents they hold. Chunks by
/// descending work (query and key pairs of their documents), each to the rank of least work that has fewer than
/// ceil(chunks / ranks) chunks. Tokens live where their attention is, so token counts are even to one chunk. The published rule
/// fills the last chunk up: the last document is charged for that. A micro-batch of less than 512 tokens per rank is cut finer,
/// so that every rank has one chunk. Cost: sorting of the chunks. Throws: InfeasiblePlan when ceil(chunks / ranks) chunks exceed
/// the token cap. Source: the dispatch solver of MagiAttention (min heap).
Placement place_chunk_heap(const PlacementRequest& request);

}  // namespace ballast::scheduler
