#pragma once
#include "scheduler/policy/policy.h"

namespace ballast::scheduler {

/// Documents in arrival order, kept whole: a pack takes documents while it stays within the budget ceil(tokens / ranks), then the
/// next pack opens. The number of packs is brought to a multiple of the ranks by popping the last document of the latest packs
/// that hold more than one. Pack j goes to rank j mod ranks. Cost: linear in the documents. Throws: InfeasiblePlan when a rank
/// would hold more than the token cap. Source: Megatron-LM's dp_balanced packing.
Placement place_sequential(const PlacementRequest& request);

}  // namespace ballast::scheduler
