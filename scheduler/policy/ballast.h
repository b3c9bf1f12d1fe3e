#pragma once
#include "scheduler/policy/policy.h"

namespace ballast::scheduler {

/// Our own policy. Short sequences stay whole on one rank; longer ones become rings of any size, with unequal shares, inside one
/// node; the longest are cut by head over nodes, each node running a ring on its heads, while the tokens' homes (their linear
/// work) are wherever there is room. Because heads are small and homes are free, work fills every node, then every rank, to the
/// same level. Tries a fixed list of thresholds and keeps the best by an analytic estimate that counts attention, linear work and
/// traffic. Cost: n log n + tries * (n log N + units * log N), N nodes. Throws: InfeasiblePlan only when the micro-batch has more
/// tokens than all ranks may hold.
Placement place_ballast(const PlacementRequest& request);

}  // namespace ballast::scheduler
