#pragma once
#include "scheduler/policy/policy.h"

namespace ballast::scheduler {

/// Hierarchical partition in three zones: sequences longer than t1 are rings over two or more whole nodes, then those longer than
/// t2 rings of two or more ranks of a node, the others stay whole on a rank; shares of a ring are equal. Longest first; each
/// takes the fewest nodes or ranks, the least-loaded ones, whose parts are within the threshold and have room under the token
/// cap; load is attention and linear work. Where one finds no room, the threshold is halved and the step done again; where that
/// does not help, every sequence goes over all ranks. Twenty pairs of thresholds are tried: t1 of a node's capacity and the
/// shortest length whose ring over two nodes hides its transfers, t2 of a rank's capacity and the shortest length worth a ring
/// inside a node, and fractions of them. The pair with the least work on the slowest rank is kept; traffic is not counted. The
/// zones and the order are the paper's; formulas, thresholds and tries are ours, as the paper's are not published. Exchanges are
/// routed. Cost: tries * n * (log n + log R), plus G for each ring. Throws: InfeasiblePlan when even equal shares over all ranks
/// exceed the token cap. Source: arXiv 2509.21841 (Zeppelin).
Placement place_zeppelin(const PlacementRequest& request);

}  // namespace ballast::scheduler
