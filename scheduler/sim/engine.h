#pragma once
// The events of a step, one after the other.
#include "scheduler/sim/simulator.h"
#include "scheduler/sim/step_program.h"
#include "scheduler/topology/topology.h"

namespace ballast::scheduler {

/// Runs a step's programs on all ranks at once, as class Simulator says. Throws: std::invalid_argument for more passes or layers
/// than its keys count, and for seconds or bytes beyond what is counted (clock.h, step_totals.h).
Simulation run_engine(const StepProgram& step, const Topology& topology, const SimulationOptions& options);

}  // namespace ballast::scheduler
