#pragma once
// Everything that a run holds, built from its config: model, optimizer, data, planning request.
#include <memory>
#include <optional>

#include "runtime/comm/mesh.h"
#include "runtime/data/corpus.h"
#include "runtime/metrics/phase_clock.h"
#include "runtime/model/transformer.h"
#include "runtime/optim/lr_schedule.h"
#include "runtime/optim/zero_adamw.h"
#include "runtime/train/plan_runner.h"
#include "scheduler/make_plan.h"

namespace ballast::schema {
class RunConfig;
}

namespace ballast::train {

/// One step's samples and its plan.
struct Step {
  std::vector<data::Sequence> sequences;
  scheduler::Plan plan;
  std::int64_t num_tokens() const;
};

class Trainer {
 public:
  /// Every rank of `world` builds its own, from the same checked config. The world outlives the trainer.
  /// Throws: std::invalid_argument for a config that cannot be honoured, data::DataError for missing or damaged data.
  Trainer(const schema::RunConfig& config, comm::Communicator& world);

  /// The next samples and their plan. The same on every rank.
  Step plan_step(std::int64_t step, std::int64_t position) const;
  /// Trains on one step.
  StepResult run(const Step& step, double learning_rate);

  /// GEMM rate of all ranks together, measured on all at once, since they share the cores during training too; the shapes are
  /// those of this model and of a rank's share of the tokens. Collective. Units: floating point operations per second.
  double measure_gemm_rate(double seconds_per_shape);

  comm::Communicator& world() { return world_; }
  const comm::Mesh& mesh() const { return mesh_; }
  metrics::PhaseClock& clock() { return clock_; }
  const data::Corpus& corpus() const { return corpus_; }
  model::Transformer& transformer() { return transformer_; }
  optim::ZeroAdamw& optimizer() { return optimizer_; }
  const optim::LrSchedule& lr_schedule() const { return lr_schedule_; }
  /// What planning knows besides the lengths.
  const scheduler::PlanRequest& planning() const { return planning_; }

 private:
  comm::Communicator& world_;
  comm::Mesh mesh_;
  metrics::PhaseClock clock_;
  data::Corpus corpus_;
  model::Transformer transformer_;
  optim::ZeroAdamw optimizer_;
  optim::LrSchedule lr_schedule_;
  scheduler::PlanRequest planning_;
  PlanRunner runner_;
};

/// Steps that a run of `total_tokens` takes when its steps are as full as the mean sequence lets them be: what the
/// learning-rate schedule and the ETA are laid out for. A pure function of the data and the config.
std::int64_t expected_steps(const data::SequenceSource& source, std::int64_t tokens_per_step, std::int64_t total_tokens);

}  // namespace ballast::train
