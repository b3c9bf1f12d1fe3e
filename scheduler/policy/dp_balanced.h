#pragma once
#include "scheduler/policy/policy.h"

namespace ballast::scheduler {

/// Documents in arrival order, kept whole, in packs of equal groups of ranks: a pack takes documents while it stays within L
/// tokens on each rank of a group (L the token budget, or the token cap if that is smaller), then the next pack opens. The number
/// of packs is brought to a multiple of the groups by popping the last document of the latest packs that hold more than one. Pack
/// j goes to group j mod groups, all ranks of which are the ring of each of its documents.
/// The published rule is given groups; here they are the smallest equal ones (ranks divided by a divisor) that hold the longest
/// document. Packs that share a group follow each other; training merges them, so that its ranks may hold more than L.
/// Cost: linear in the documents and the members of their rings. Throws: InfeasiblePlan when a rank would hold more than the
/// token cap. Source: Megatron-LM, dp_balanced, the baseline of its dynamic context parallelism.
Placement place_dp_balanced(const PlacementRequest& request);

/// As place_dp_balanced; one pack of each group is a micro-batch of its own.
std::vector<FormedMicroBatch> form_dp_balanced(const PlacementRequest& request);

}  // namespace ballast::scheduler
