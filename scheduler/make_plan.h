#pragma once
// The front door: lengths and cluster in, the plan of a step out.
#include <cstdint>
#include <vector>

#include "scheduler/cost/model_shape.h"
#include "scheduler/plan/plan.h"
#include "scheduler/policy/policy.h"
#include "scheduler/topology/topology.h"

namespace ballast::scheduler {

struct PlanRequest {
  std::vector<std::int64_t> lengths;  ///< of the step's sequences, in data order; all positive, kMostTokens in all
  Topology topology;
  ModelShape model;
  PolicyOptions options;
  std::int64_t step = 0;
  /// Micro-batches are those that the policy forms by its published rule, where it has one (Policy::form_micro_batches), instead
  /// of runs in data order. For tables and simulation; training only places, so that its losses do not depend on the policy.
  bool planner_mode = false;
};

/// Chooses the policy, places every global micro-batch, lays tokens out, builds the programs and validates the result.
/// Deterministic: a pure function of the request, the same on every rank and machine.
/// Throws: std::invalid_argument for an unknown policy or bad lengths; InfeasiblePlan, with the numbers, for what cannot be
/// placed, and for a plan that sends over nodes from or to a rank without a network card.
Plan make_plan(const PlanRequest& request);

/// Sequences of each global micro-batch: runs, in order, while the sum stays within `tokens_per_micro_batch` (0: one run).
/// A longer sequence is a run of its own. At least one run, possibly empty.
std::vector<std::vector<std::int64_t>> micro_batch_runs(const std::vector<std::int64_t>& lengths,
                                                        std::int64_t tokens_per_micro_batch);

/// The program that every rank runs: forward and backward of each micro-batch in turn, then reduce, update, gather.
RankProgram training_program(int num_micro_batches);

}  // namespace ballast::scheduler
