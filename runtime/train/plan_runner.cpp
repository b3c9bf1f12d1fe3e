#include "runtime/train/plan_runner.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <stdexcept>

#include "scheduler/plan/cursor.h"
#include "scheduler/plan/fingerprint.h"

namespace ballast::train {
namespace {

using metrics::PhaseClock;
using metrics::StepPhase;

template <class... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};

}  // namespace

PlanRunner::PlanRunner(model::Transformer& transformer, optim::ZeroAdamw& optimizer, const comm::Mesh& mesh, PhaseClock& clock,
                       model::PackOptions pack_options)
    : transformer_(transformer), optimizer_(optimizer), mesh_(mesh), clock_(clock), pack_options_(std::move(pack_options)) {}

void PlanRunner::check_plans_are_equal(const scheduler::Plan& plan) const {
  const PhaseClock::Scope phase(clock_, StepPhase::kCommunication);
  const auto own = static_cast<std::int64_t>(scheduler::fingerprint(plan));
  std::array<std::int64_t, 2> extremes = {own, ~own};  // the largest, and the complement of the smallest
  mesh_.dp().all_reduce({extremes.data(), 2, comm::Dtype::kInt64}, comm::ReduceOp::kMax).wait();
  if (extremes[0] != ~extremes[1]) {
    throw std::runtime_error(fmt::format(
        "step {}: the ranks made different plans (fingerprint {:016x} here); all ranks need the same binary, config and data",
        plan.step, static_cast<std::uint64_t>(own)));
  }
}

void PlanRunner::note_expert_loads(const model::Activations& activations, StepResult& result) {
  std::size_t moe_layer = 0;
  for (const model::LayerActivations& layer : activations.layers) {
    const auto* const moe = std::get_if<model::MoeActivations>(&layer.feed_forward);
    if (!moe) continue;
    if (moe_layer == result.expert_load.size()) result.expert_load.emplace_back();
    result.expert_load[moe_layer++].add({moe->count_E.data_ptr<std::int64_t>(), static_cast<std::size_t>(moe->count_E.numel())});
  }
}

StepResult PlanRunner::run(const scheduler::Plan& plan, std::span<const model::SequenceTokens> sequences, double learning_rate) {
  check_plans_are_equal(plan);
  const int rank = mesh_.dp().rank();
  std::int64_t num_targets = 0;
  for (const std::int64_t length : plan.lengths) num_targets += length;

  StepResult result;
  double loss_sum = 0;
  std::vector<model::PackedBatch> batches(plan.micro_batches.size());
  std::vector<model::Activations> activations(plan.micro_batches.size());
  transformer_.parameters().zero_gradients();

  const auto forward = [&](const scheduler::Forward& op) {
    const auto i = static_cast<std::size_t>(op.micro_batch);
    batches[i] = model::pack(plan, op.micro_batch, rank, sequences, pack_options_);
    loss_sum += transformer_.forward(batches[i], 1.0 / static_cast<double>(num_targets), activations[i]);
    note_expert_loads(activations[i], result);
  };
  const auto backward = [&](const scheduler::Backward& op) {
    const auto i = static_cast<std::size_t>(op.micro_batch);
    transformer_.backward(batches[i], activations[i]);
    batches[i] = {};
    activations[i] = {};
  };
  const auto reduce_gradients = [&](const scheduler::ReduceGradients&) {
    const PhaseClock::Scope phase(clock_, StepPhase::kCommunication);
    optimizer_.reduce_gradients();
    mesh_.dp().all_reduce({&loss_sum, 1, comm::Dtype::kFloat64}, comm::ReduceOp::kSum).wait();
    result.loss = loss_sum / static_cast<double>(num_targets);
    result.grad_norm = optimizer_.clip_gradients();
    result.is_finite = std::isfinite(result.loss) && std::isfinite(result.grad_norm);
  };
  const auto update_parameters = [&](const scheduler::UpdateParameters&) {
    const PhaseClock::Scope phase(clock_, StepPhase::kOptimizer);
    for (model::Router* const router : transformer_.routers()) {
      if (!router) continue;
      if (result.is_finite) {
        router->commit(plan.step);
      } else {
        router->discard();
      }
    }
    if (result.is_finite) optimizer_.update(learning_rate);
  };
  const auto gather_parameters = [&](const scheduler::GatherParameters&) {
    const PhaseClock::Scope phase(clock_, StepPhase::kCommunication);
    if (result.is_finite) optimizer_.gather_parameters();
  };

  scheduler::ProgramCursor cursor(plan.ranks.at(static_cast<std::size_t>(rank)));
  while (const auto next = cursor.next()) {
    std::visit(Overloaded{forward, backward, reduce_gradients, update_parameters, gather_parameters},
               plan.ranks[static_cast<std::size_t>(rank)][static_cast<std::size_t>(*next)].op);
    cursor.finish(*next);
  }
  return result;
}

}  // namespace ballast::train
