#pragma once
// What a simulated step comes to.
#include <vector>

#include "scheduler/sim/engine_state.h"
#include "scheduler/sim/linear_kernels.h"
#include "scheduler/sim/simulator.h"
#include "scheduler/topology/topology.h"

namespace ballast::scheduler {

/// Throws: std::invalid_argument: 64 bits do not count so many.
[[noreturn]] void refuse_bytes(double bytes);

/// Seconds, bytes and messages of a step at its end, layers that were left out included. Of a simulation all but its timeline.
/// Throws: std::invalid_argument for seconds beyond the clock (clock.h), and for bytes beyond 64 bits.
Simulation step_totals(const std::vector<PassInstance>& instances, const std::vector<RankState>& ranks,
                       const LinearKernels& kernels, const Topology& topology, bool records_messages);

}  // namespace ballast::scheduler
