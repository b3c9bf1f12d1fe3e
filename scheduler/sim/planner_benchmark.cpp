#include "scheduler/sim/planner_benchmark.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <optional>

#include "scheduler/cost/rank_load.h"
#include "scheduler/plan/expand.h"
#include "scheduler/plan/fingerprint.h"
#include "scheduler/sim/bounds.h"
#include "scheduler/sim/simulator.h"
#include "scheduler/sim/symmetric_ring.h"

namespace ballast::scheduler {
namespace {

/// CPU seconds of this process.
double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

/// Blocks that meet queries in a pass: the square of every ring's size; of gathered and served work the pieces.
std::int64_t num_ring_steps(const MicroBatch& micro_batch) {
  const auto square = [](const std::vector<int>& ranks) { return static_cast<std::int64_t>(ranks.size() * ranks.size()); };
  struct Count {
    decltype(square)& of;
    std::int64_t operator()(const Ring& ring) const { return of(ring.ranks); }
    std::int64_t operator()(const HeadRing& ring) const {
      std::int64_t steps = 0;
      for (const HeadPart& part : ring.parts) steps += of(part.ranks);
      return steps;
    }
    // Every member gathers from every other one, for each sequence.
    std::int64_t operator()(const AllGather& pack) const {
      return of(pack.ranks) + static_cast<std::int64_t>(pack.ranks.size() * pack.sequences.size());
    }
    std::int64_t operator()(const HeadAllToAll& pack) const {
      return of(pack.ranks) * static_cast<std::int64_t>(pack.sequences.size());
    }
    std::int64_t operator()(const TaskSet& set) const { return static_cast<std::int64_t>(set.tasks.size()); }
  };
  std::int64_t steps = 0;
  for (const AttentionWork& work : micro_batch.work) steps += std::visit(Count{square}, work);
  return steps;
}

/// Of the whole step, as it is expanded.
std::int64_t num_expanded_steps(const Plan& plan) {
  std::int64_t steps = 0;
  for (const MicroBatch& micro_batch : plan.micro_batches) steps += num_ring_steps(micro_batch);
  return steps;
}

/// As it is simulated: all sequences of a symmetric ring are one.
std::int64_t num_simulated_steps(const Plan& plan, const Topology& topology) {
  std::int64_t steps = 0;
  for (const MicroBatch& micro_batch : plan.micro_batches) {
    const std::optional<SymmetricRing> ring = symmetric_ring(micro_batch, plan.charged_tokens, topology.node_of_rank);
    const auto num_members = static_cast<std::int64_t>(ring ? ring->ranks.size() : 0);
    steps += ring ? num_members * std::min<std::int64_t>(num_members, kMostRounds) : num_ring_steps(micro_batch);
  }
  return steps;
}

}  // namespace

const PlannerBenchmark::Simulated& PlannerBenchmark::simulated(const Plan& plan, const ModelShape& model,
                                                               const Topology& topology) {
  if (topology != topology_ || model != model_) {
    simulated_.clear();
    topology_ = topology;
    model_ = model;
  }
  const std::uint64_t key = fingerprint(plan);
  if (const auto known = simulated_.find(key); known != simulated_.end()) return known->second;

  const double begin = cpu_seconds();
  const Simulator simulator(plan, model, topology);
  const Simulation overlapped = simulator.run();
  SimulationOptions attention_only;
  attention_only.overlaps_linear = false;
  const Simulation waiting = simulator.run(attention_only);
  double exposed_seconds = 0;
  for (const RankTime& rank : overlapped.ranks) exposed_seconds += rank.exposed_seconds;
  const Simulated result = {
      .makespan_seconds = overlapped.makespan_seconds,
      .makespan_seconds_attention_overlap_only = waiting.makespan_seconds,
      .exposed_communication_fraction = exposed_seconds / topology.num_ranks() / overlapped.makespan_seconds,
      .is_exact = overlapped.is_exact && waiting.is_exact,
      .simulated_layers = std::min(overlapped.num_simulated_layers, waiting.num_simulated_layers),
      .seconds = cpu_seconds() - begin};
  return simulated_.emplace(key, result).first->second;
}

PlannerScore PlannerBenchmark::score(const PlanRequest& request) {
  PlannerScore score;
  const Topology& topology = request.topology;
  const double begin = cpu_seconds();
  Plan plan;
  try {
    PlanRequest planner = request;
    planner.planner_mode = true;
    plan = make_plan(planner);
    const HeadCounts heads{static_cast<int>(request.model.num_attention_heads),
                           static_cast<int>(request.model.num_key_value_heads)};
    if (num_expanded_steps(plan) <= most_ring_steps_) {
      for (const MicroBatch& micro_batch : plan.micro_batches) {
        const AttentionExpansion expansion(micro_batch, heads, topology.node_of_rank, 0);
        for (const Pass pass : {Pass::kForward, Pass::kBackward}) expansion.rank(0, pass);
      }
    }
  } catch (const std::invalid_argument& refused) {
    score.refusal = refused.what();
    score.planning_seconds = score.seconds = cpu_seconds() - begin;
    return score;
  }
  score.planning_seconds = score.seconds = cpu_seconds() - begin;

  const PlanLoad load = plan_load(plan, request.model, topology);
  score.num_micro_batches = static_cast<int>(plan.micro_batches.size());
  score.imbalance_full = load.imbalance;
  score.imbalance_attention = load.attention_imbalance;
  std::int64_t most_tokens = 0;
  for (const RankLoad& rank : load.ranks) most_tokens = std::max(most_tokens, rank.most_tokens);
  score.tokens_max_over_budget = static_cast<double>(most_tokens) / static_cast<double>(request.options.tokens_per_rank);
  if (const std::int64_t steps = num_simulated_steps(plan, topology); steps > most_ring_steps_) {
    score.refusal = fmt::format("not simulated: its rings have {} steps, and at most {} are", steps, most_ring_steps_);
    return score;
  }

  try {
    const Simulated& simulation = simulated(plan, request.model, topology);
    const StepBounds bounds = step_bounds(request.lengths, request.model, topology, request.options.token_cap_per_rank);
    score.makespan_seconds = simulation.makespan_seconds;
    score.makespan_seconds_attention_overlap_only = simulation.makespan_seconds_attention_overlap_only;
    score.makespan_over_strict_bound = score.makespan_seconds / bounds.work_seconds;
    score.makespan_over_best_bound = score.makespan_seconds / bounds.seconds();
    score.makespan_over_strict_bound_attention_overlap_only = score.makespan_seconds_attention_overlap_only / bounds.work_seconds;
    score.exposed_communication_fraction = simulation.exposed_communication_fraction;
    score.is_exact = simulation.is_exact;
    score.simulated_layers = simulation.simulated_layers;
    score.seconds += simulation.seconds;
  } catch (const std::invalid_argument& refused) {
    score.refusal = fmt::format("not simulated: {}", refused.what());
  }
  return score;
}

}  // namespace ballast::scheduler
