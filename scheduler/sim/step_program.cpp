#include "scheduler/sim/step_program.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "scheduler/cost/seconds.h"
#include "scheduler/sim/routed_program.h"

namespace ballast::scheduler {

namespace {

/// Tokens that are charged over those that are there, by sequence of the step.
std::vector<double> charges(const Plan& plan) {
  std::vector<double> result;
  for (std::size_t s = 0; s < plan.charged_tokens.size(); ++s) {
    result.push_back(static_cast<double>(plan.charged_tokens[s]) / static_cast<double>(plan.lengths[s]));
  }
  return result;
}

PassRates pass_rates(Pass pass, const ModelShape& model, const CostRates& rates, const std::vector<double>& charge) {
  const double share = pass == Pass::kForward ? kForwardShareOfAttention : 1 - kForwardShareOfAttention;
  PassRates result;
  result.pass = pass;
  result.head_pair_seconds = share * rates.layer_pair_seconds / static_cast<double>(model.num_attention_heads);
  result.row_bytes = model.head_dim * model.element_bytes;
  result.gradient_row_bytes = model.head_dim * std::max(4, model.element_bytes);
  result.charge = charge;
  return result;
}

/// Charged tokens of a rank's home in each group.
std::array<double, kNumTokenGroups> group_tokens(const std::vector<Chunk>& home, const LateTokens& late,
                                                 const std::vector<double>& charge) {
  const auto charged = [&](const Chunk& chunk) {
    return static_cast<double>(chunk.end - chunk.begin) * (charge.empty() ? 1 : charge[chunk.sequence]);
  };
  double all = 0, waiting = 0;
  for (const Chunk& chunk : home) all += charged(chunk);
  for (const Chunk& range : late.ranges()) waiting += charged(range);
  return {waiting, std::max(0.0, all - waiting)};
}

MicroBatchProgram micro_batch_program(const MicroBatch& micro_batch, const ModelShape& model, const Topology& topology,
                                      const CostRates& rates, const std::vector<double>& charge, bool is_routed) {
  MicroBatchProgram result;
  result.layers = layer_kinds(micro_batch, model);
  const AttentionExpansion expansion(micro_batch,
                                     {static_cast<int>(model.num_attention_heads), static_cast<int>(model.num_key_value_heads)},
                                     topology.node_of_rank);
  const auto reads_foreign = [](const LayerKind& kind) { return kind.reads_foreign_keys; };
  const bool has_foreign = std::any_of(result.layers.begin(), result.layers.end(), reads_foreign);
  const bool has_own = !std::all_of(result.layers.begin(), result.layers.end(), reads_foreign);

  std::vector<LateTokens> late;
  for (int r = 0; r < topology.num_ranks(); ++r) {
    // Who computes what does not depend on whose keys are read.
    late.emplace_back(expansion.rank(r, Pass::kForward, KeyValueUse::kForeign));
    result.tokens.push_back(group_tokens(micro_batch.homes[r], late.back(), charge));
  }
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
    const PassRates pass_rate = pass_rates(pass, model, rates, charge);
    for (const KeyValueUse use : {KeyValueUse::kOwn, KeyValueUse::kForeign}) {
      if (!(use == KeyValueUse::kOwn ? has_own : has_foreign)) continue;
      PassProgramBuilder builder(expansion.slices(), pass_rate);
      for (int r = 0; r < topology.num_ranks(); ++r) builder.add_rank(expansion.rank(r, pass, use), late[r]);
      std::optional<PassProgram>& program = result.passes[static_cast<int>(pass)][static_cast<int>(use)];
      program = builder.finish();
      if (is_routed) route_messages(*program, topology);
    }
  }
  return result;
}

}  // namespace

StepProgram step_program(const Plan& plan, const ModelShape& model, const Topology& topology) {
  const std::size_t num_ranks = topology.node_of_rank.size();
  if (plan.ranks.size() != num_ranks) {
    throw std::invalid_argument(
        fmt::format("simulation: a plan for {} ranks on a cluster of {}; plan for the cluster that is "
                    "simulated",
                    plan.ranks.size(), num_ranks));
  }
  StepProgram step;
  step.ranks = plan.ranks;
  step.token_seconds = token_seconds(model, topology);
  const CostRates rates = cost_rates(model, topology);
  const std::vector<double> charge = charges(plan);
  for (const MicroBatch& micro_batch : plan.micro_batches) {
    step.micro_batches.push_back(micro_batch_program(micro_batch, model, topology, rates, charge, plan.is_routed));
  }
  return step;
}

}  // namespace ballast::scheduler
