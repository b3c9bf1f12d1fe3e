#pragma once
#include "scheduler/policy/policy.h"

namespace ballast::scheduler {

/// Sequence parallelism by head: a group of G ranks splits its pack evenly by tokens outside attention and by heads inside. G is
/// the largest number that divides query heads, key/value heads (the published engine does not copy them) and the ranks. The
/// ranks form groups of G consecutive ones, so a group lies inside a node whenever G divides the ranks per node. Sequences go,
/// longest first, to the group with the fewest tokens (the paper has one group; dealing is ours). Cost: n log n.
/// Throws: InfeasiblePlan when a sequence finds no group with room; with G = 1, where the heads do not allow a split, that is a
/// sequence longer than the token cap. Source: arXiv 2309.14509 (DeepSpeed-Ulysses).
Placement place_ulysses(const PlacementRequest& request);

}  // namespace ballast::scheduler
