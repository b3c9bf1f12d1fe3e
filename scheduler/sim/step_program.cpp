#include "scheduler/sim/step_program.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <stdexcept>

#include "scheduler/cost/seconds.h"
#include "scheduler/sim/routed_program.h"
#include "scheduler/sim/symmetric_ring.h"

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

/// What the programs of a micro-batch are made of.
struct Source {
  std::vector<AttentionSlice> slices;
  std::vector<double> charge;  ///< as PassRates::charge, of the slices' sequences
  std::function<RankAttention(int rank, Pass pass, KeyValueUse use)> attention;
};

/// The expansion of all its work.
Source expanded(const MicroBatch& micro_batch, HeadCounts heads, const Topology& topology, const std::vector<double>& charge) {
  const auto expansion = std::make_shared<const AttentionExpansion>(micro_batch, heads, topology.node_of_rank);
  return {expansion->slices(), charge,
          [expansion](int rank, Pass pass, KeyValueUse use) { return expansion->rank(rank, pass, use); }};
}

Source repeated_rounds(const SymmetricRing& ring, HeadCounts heads, const Topology& topology, int num_rounds) {
  std::vector<int> member(topology.node_of_rank.size(), -1);
  for (std::size_t i = 0; i < ring.ranks.size(); ++i) member[ring.ranks[i]] = static_cast<int>(i);
  return {{symmetric_slice(ring, heads)}, {}, [=](int rank, Pass pass, KeyValueUse use) {
            return member[rank] < 0 ? RankAttention{} : symmetric_attention(ring, member[rank], heads, pass, use, num_rounds);
          }};
}

MicroBatchProgram micro_batch_program(const MicroBatch& micro_batch, const ModelShape& model, const Topology& topology,
                                      const std::vector<double>& charge, const Source& source, bool is_routed) {
  MicroBatchProgram result;
  result.layers = layer_kinds(micro_batch, model);
  const CostRates rates = cost_rates(model, topology);
  const auto reads_foreign = [](const LayerKind& kind) { return kind.reads_foreign_keys; };
  const bool has_foreign = std::any_of(result.layers.begin(), result.layers.end(), reads_foreign);
  const bool has_own = !std::all_of(result.layers.begin(), result.layers.end(), reads_foreign);

  std::vector<LateTokens> late;
  for (int r = 0; r < topology.num_ranks(); ++r) {
    // Who computes what does not depend on whose keys are read.
    late.emplace_back(source.attention(r, Pass::kForward, KeyValueUse::kForeign));
    result.tokens.push_back(group_tokens(micro_batch.homes[r], late.back(), charge));
  }
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
    const PassRates pass_rate = pass_rates(pass, model, rates, source.charge);
    for (const KeyValueUse use : {KeyValueUse::kOwn, KeyValueUse::kForeign}) {
      if (!(use == KeyValueUse::kOwn ? has_own : has_foreign)) continue;
      PassProgramBuilder builder(source.slices, pass_rate);
      for (int r = 0; r < topology.num_ranks(); ++r) builder.add_rank(source.attention(r, pass, use), late[r]);
      std::optional<PassProgram>& program = result.passes[static_cast<int>(pass)][static_cast<int>(use)];
      program = builder.finish();
      if (is_routed) route_messages(*program, topology);
    }
  }
  return result;
}

}  // namespace

StepProgram step_program(const Plan& plan, const ModelShape& model, const Topology& topology, int most_rounds) {
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
  const std::vector<double> charge = charges(plan);
  const HeadCounts heads{static_cast<int>(model.num_attention_heads), static_cast<int>(model.num_key_value_heads)};

  std::vector<std::optional<SymmetricRing>> rings;
  for (const MicroBatch& micro_batch : plan.micro_batches) {
    rings.push_back(symmetric_ring(micro_batch, plan.charged_tokens, topology.node_of_rank));
  }
  // Rounds are left out only where all micro-batches are rings of one size: then the step grows evenly with them.
  const auto size = [](const std::optional<SymmetricRing>& ring) { return ring ? static_cast<int>(ring->ranks.size()) : 0; };
  const int all_rounds = rings.empty() ? 0 : size(rings.front());
  const bool has_one_size = std::all_of(rings.begin(), rings.end(), [&](const auto& ring) { return size(ring) == all_rounds; });
  step.all_rounds = has_one_size ? all_rounds : 0;
  step.num_rounds = most_rounds > 0 ? std::min(step.all_rounds, most_rounds) : step.all_rounds;
  for (std::size_t m = 0; m < plan.micro_batches.size(); ++m) {
    const MicroBatch& micro_batch = plan.micro_batches[m];
    const Source source = rings[m] ? repeated_rounds(*rings[m], heads, topology, has_one_size ? step.num_rounds : size(rings[m]))
                                   : expanded(micro_batch, heads, topology, charge);
    step.micro_batches.push_back(micro_batch_program(micro_batch, model, topology, charge, source, plan.is_routed));
  }
  return step;
}

}  // namespace ballast::scheduler
