#pragma once
// Messages of a pass spread over proxies and cards.
#include "scheduler/sim/pass_program.h"
#include "scheduler/topology/topology.h"

namespace ballast::scheduler {

/// Routes every exchange of the pass (all ranks' messages of one stage, queue and round) by scheduler/route. What is relayed
/// becomes one message per part and slice, which travels from its source over its proxies to its destination; what stays direct
/// is as it was. Proxies pass on what they get without taking part in the exchange. Cost: that of route, plus sorting of
/// exchanges.
void route_messages(PassProgram& program, const Topology& topology);

}  // namespace ballast::scheduler
