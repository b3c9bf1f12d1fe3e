#pragma once
#include "scheduler/policy/policy.h"

namespace ballast::scheduler {

/// Context parallelism by all-gather: every rank gathers the keys and values of the whole pack, the micro-batch in data order.
/// The pack, not each document, is cut in 2R parts as equal as possible; rank i has the queries of parts i and 2R-1-i. Even
/// tokens; work is even only while the pack is one document. Cost: sequences + ranks. Throws: InfeasiblePlan when the micro-batch
/// has more tokens than all ranks may hold. Source: arXiv 2407.21783 (Llama 3).
Placement place_llama_cp(const PlacementRequest& request);

}  // namespace ballast::scheduler
