#include "runtime/train/plan_runner.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <cmath>
#include <sstream>
#include <stdexcept>

#include "runtime/comm/broadcast_text.h"
#include "scheduler/plan/cursor.h"
#include "scheduler/plan/describe.h"
#include "scheduler/plan/fingerprint.h"
#include "scheduler/plan/validate.h"

namespace ballast::train {
namespace {

using metrics::PhaseClock;
using metrics::StepPhase;

template <class... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};

/// Which ranks have another plan than rank 0, and the first thing in which the first of them differs. Collective.
std::string difference_text(const scheduler::Plan& plan, comm::Communicator& world) {
  const std::vector<std::string> lines = scheduler::describe(plan);
  std::istringstream first(comm::broadcast_text(world, fmt::format("{}", fmt::join(lines, "\n")), 0));
  std::string difference;
  std::string line;
  for (std::size_t i = 0; difference.empty(); ++i) {
    const bool has_line = static_cast<bool>(std::getline(first, line));
    if (!has_line && i >= lines.size()) break;
    const std::string there = has_line ? line : "nothing more", here = i < lines.size() ? lines[i] : "nothing more";
    if (there != here) difference = fmt::format("it has \"{}\" where rank 0 has \"{}\"", here, there);
  }

  const std::array<std::int64_t, 1> differs = {!difference.empty()};
  std::vector<std::int64_t> by_rank(static_cast<std::size_t>(world.size()));
  world.all_gather(comm::buffer(differs), comm::buffer(by_rank), std::vector<std::int64_t>(by_rank.size(), 1)).wait();
  std::vector<int> others;
  for (int rank = 0; rank < world.size(); ++rank) {
    if (by_rank[static_cast<std::size_t>(rank)] != 0) others.push_back(rank);
  }
  const int named = others.empty() ? 0 : others.front();
  return fmt::format(
      "step {}: rank{} {} made another plan than rank 0. Rank {}: {}. All ranks need the same binary, config and data", plan.step,
      others.size() > 1 ? "s" : "", fmt::join(others, ", "), named, comm::broadcast_text(world, std::move(difference), named));
}

}  // namespace

PlanRunner::PlanRunner(model::Transformer& transformer, optim::ZeroAdamw& optimizer, const comm::Mesh& mesh, PhaseClock& clock,
                       model::PackOptions pack_options)
    : transformer_(transformer), optimizer_(optimizer), mesh_(mesh), clock_(clock), pack_options_(std::move(pack_options)) {}

void PlanRunner::check(const scheduler::Plan& plan) const {
  scheduler::validate(plan, {mesh_.dp().size(), transformer_.config().num_layers, 0, pack_options_.heads.query});

  const PhaseClock::Scope phase(clock_, StepPhase::kCommunication);
  const auto own = static_cast<std::int64_t>(scheduler::fingerprint(plan));
  std::array<std::int64_t, 2> extremes = {own, ~own};  // the largest, and the complement of the smallest
  mesh_.dp().all_reduce({extremes.data(), 2, comm::Dtype::kInt64}, comm::ReduceOp::kMax).wait();
  if (extremes[0] != ~extremes[1]) throw std::runtime_error(difference_text(plan, mesh_.dp()));
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
  check(plan);
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
