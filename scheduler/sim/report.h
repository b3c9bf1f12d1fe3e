#pragma once
// What a simulated step comes to.
#include <cstdint>
#include <vector>

#include "scheduler/sim/bounds.h"
#include "scheduler/sim/simulator.h"

namespace ballast::scheduler {

struct SimulationReport {
  StepBounds bounds;
  double imbalance = 1;  ///< of the work of ranks, charged tokens not counted: max over mean
  /// By rank: weights, gradients, moments and activations of its fullest micro-batch, receives and gradients that wait.
  std::vector<std::int64_t> peak_memory_bytes;
  std::int64_t most_memory_bytes = 0;  ///< of the fullest rank
  Simulation simulation;               ///< with linear work of ready tokens behind transfers
  /// The same with other engines.
  double seconds_without_overlap = 0;  ///< linear work waits for all attention of its layer
  // Means over ranks, as parts of the makespan.
  double busy_fraction = 0;
  double exposed_fraction = 0;  ///< idle while a message has to come
  double barrier_fraction = 0;  ///< idle before experts
  double done_fraction = 0;     ///< idle after its last work
  // Of card groups; the larger direction, and the mean of all.
  std::int64_t most_nic_bytes = 0;
  double mean_nic_bytes = 0;
};

/// Simulates a plan with the engines that a row of a table compares. Input: token_cap as for step_bounds; experts are spread over
/// expert_parallel ranks, which memory alone knows. Cost: two simulations. Throws: as Simulator.
SimulationReport simulation_report(const Plan& plan, const ModelShape& model, const Topology& topology, std::int64_t token_cap,
                                   int expert_parallel = 1, const SimulationOptions& options = {});

}  // namespace ballast::scheduler
