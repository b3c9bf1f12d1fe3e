#pragma once
// Executes a plan: the only way in which anything is trained.
#include <vector>

#include "runtime/comm/mesh.h"
#include "runtime/metrics/expert_load.h"
#include "runtime/metrics/phase_clock.h"
#include "runtime/model/transformer.h"
#include "runtime/optim/zero_adamw.h"
#include "scheduler/plan/plan.h"

namespace ballast::train {

/// What one step did; equal on every rank.
struct StepResult {
  double loss = 0;                               ///< mean over the step's targets; nats per token
  double grad_norm = 0;                          ///< global, before clipping
  bool is_finite = true;                         ///< false: the parameters were not changed
  std::vector<metrics::ExpertLoad> expert_load;  ///< by MoE layer
};

class PlanRunner {
 public:
  PlanRunner(model::Transformer& transformer, optim::ZeroAdamw& optimizer, const comm::Mesh& mesh, metrics::PhaseClock& clock,
             model::PackOptions pack_options);

  /// Runs this rank's program of `plan`.
  /// Input: sequences[i] belongs to plan.lengths[i]; learning_rate of this step.
  /// Throws: CommError; InvalidPlan for a plan that cannot be executed, and std::runtime_error, which names ranks and the first
  /// difference, where the ranks' plans differ: both before anything of the step is sent.
  StepResult run(const scheduler::Plan& plan, std::span<const model::SequenceTokens> sequences, double learning_rate);

 private:
  void check(const scheduler::Plan& plan) const;
  static void note_expert_loads(const model::Activations& activations, StepResult& result);

  model::Transformer& transformer_;
  optim::ZeroAdamw& optimizer_;
  const comm::Mesh& mesh_;
  metrics::PhaseClock& clock_;
  model::PackOptions pack_options_;
};

}  // namespace ballast::train
