#pragma once
#include "scheduler/policy/policy.h"

namespace ballast::scheduler {

/// The placement that always fits when the micro-batch has no more tokens than all ranks may hold: longest first, whole on the
/// rank with the fewest tokens if there is room, otherwise on a ring of the emptiest ranks. Balances tokens, not work. Input:
/// request.num_tokens() <= ranks * token_cap. Cost: n log R, plus R for each cut sequence.
Placement place_by_room(const PlacementRequest& request);

}  // namespace ballast::scheduler
