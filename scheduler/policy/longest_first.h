#pragma once
#include "scheduler/policy/policy.h"

namespace ballast::scheduler {

/// Documents kept whole, by descending length, each to the rank of least cost (attention and linear work) that has room under the
/// token cap. Where that finds no room, documents go, again longest first, to the rank with the fewest tokens. Cost: n log n + n
/// log R. Throws: InfeasiblePlan when neither order finds room.
Placement place_longest_first(const PlacementRequest& request);

}  // namespace ballast::scheduler
