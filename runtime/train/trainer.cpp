#include "runtime/train/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "runtime/model/model_config_io.h"
#include "runtime/train/gemm_rate.h"
#include "runtime/train/run_config.pb.h"
#include "scheduler/cost/model_shape_io.h"
#include "scheduler/policy/policy_io.h"
#include "scheduler/topology/topology_io.h"

namespace ballast::train {
namespace {

scheduler::PlanRequest planning_request(const schema::RunConfig& config, int num_ranks) {
  if (config.parallel().tp() != 1) {
    throw std::invalid_argument(fmt::format(
        "parallel.tp: {}; training does not spread layers over ranks, only `plan` and `simulate` count with it. Give 1",
        config.parallel().tp()));
  }
  scheduler::PlanRequest request;
  request.topology = scheduler::resized(scheduler::topology_from(config.cluster()), num_ranks);
  request.model = scheduler::model_shape_from(config.model());
  request.options = scheduler::policy_options_from(config.scheduler());
  return request;
}

optim::AdamwOptions adamw_options(const schema::Optim& message) {
  return {.beta1 = message.beta1(),
          .beta2 = message.beta2(),
          .eps = message.eps(),
          .weight_decay = message.weight_decay(),
          .clip_norm = message.clip_norm()};
}

}  // namespace

std::int64_t Step::num_tokens() const {
  std::int64_t total = 0;
  for (const std::int64_t length : plan.lengths) total += length;
  return total;
}

std::int64_t expected_steps(const data::SequenceSource& source, std::int64_t tokens_per_step, std::int64_t total_tokens) {
  std::int64_t position = 0;
  std::int64_t num_tokens = 0;
  std::int64_t num_steps = 0;
  // The mean over the first steps is close enough to lay out a schedule, and cheap for any corpus.
  for (; num_steps < 1000 && num_tokens < total_tokens; ++num_steps) {
    const std::vector<std::int64_t> lengths = source.step_lengths(position, tokens_per_step);
    position += static_cast<std::int64_t>(lengths.size());
    for (const std::int64_t length : lengths) num_tokens += length;
  }
  if (num_tokens >= total_tokens) return num_steps;
  const std::int64_t tokens_of_mean_step = std::max<std::int64_t>(1, num_tokens / num_steps);
  return (total_tokens + tokens_of_mean_step - 1) / tokens_of_mean_step;
}

Trainer::Trainer(const schema::RunConfig& config, comm::Communicator& world)
    : world_(world),
      mesh_(world, config.parallel().ep()),
      corpus_(data::open_corpus(config.data())),
      transformer_(model::model_config(config.model()), mesh_, config.train().seed(), clock_),
      optimizer_({{&transformer_.parameters().dense(), &mesh_.dp()}, {&transformer_.parameters().experts(), &mesh_.replica()}},
                 world, adamw_options(config.optim())),
      lr_schedule_{.peak = config.optim().learning_rate(),
                   .warmup_steps = config.optim().lr_schedule().warmup_steps(),
                   .final_fraction = config.optim().lr_schedule().final_fraction()},
      planning_(planning_request(config, world.size())),
      runner_(transformer_, optimizer_, mesh_, clock_, model::pack_options(planning_.model, planning_.topology)) {}

Step Trainer::plan_step(std::int64_t step, std::int64_t position) const {
  Step result;
  scheduler::PlanRequest request = planning_;
  request.step = step;
  request.lengths = corpus_.train.step_lengths(position, planning_.options.tokens_per_step);
  result.plan = scheduler::make_plan(request);
  for (std::size_t i = 0; i < request.lengths.size(); ++i) {
    result.sequences.push_back(corpus_.train.sequence(position + static_cast<std::int64_t>(i)));
  }
  return result;
}

StepResult Trainer::run(const Step& step, double learning_rate) {
  std::vector<model::SequenceTokens> views;
  for (const data::Sequence& sequence : step.sequences) views.push_back({sequence.inputs(), sequence.targets()});
  return runner_.run(step.plan, views, learning_rate);
}

double Trainer::measure_gemm_rate(double seconds_per_shape) {
  const std::int64_t tokens_per_rank = std::max<std::int64_t>(1, planning_.options.tokens_per_step / world_.size());
  const model::ModelConfig& config = transformer_.config();
  const std::vector<GemmShape> shapes = gemm_shapes(config, tokens_per_rank);
  world_.barrier();
  double rate = train::measure_gemm_rate(shapes, config.dtype, seconds_per_shape);
  world_.all_reduce({&rate, 1, comm::Dtype::kFloat64}, comm::ReduceOp::kSum).wait();
  return rate;
}

}  // namespace ballast::train
