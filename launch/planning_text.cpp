#include "launch/planning_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "scheduler/cost/memory.h"
#include "scheduler/policy/registry.h"

namespace ballast::launch {

std::string counted(std::size_t count, const char* one, const char* many) {
  return fmt::format("{} {}", count, count == 1 ? one : many);
}

std::int64_t num_tokens(std::span<const std::int64_t> lengths) {
  return std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
}

std::string step_text(const scheduler::PlanRequest& request) {
  return fmt::format("{} on {}, {}, {}", counted(request.topology.node_of_rank.size(), "rank", "ranks"),
                     counted(request.topology.nodes.size(), "node", "nodes"),
                     counted(request.lengths.size(), "sequence", "sequences"),
                     counted(static_cast<std::size_t>(num_tokens(request.lengths)), "token", "tokens"));
}

std::string micro_batches_text(const scheduler::PlanRequest& request, const scheduler::Plan& plan) {
  const bool is_formed = request.planner_mode && scheduler::find_policy(plan.policy).form_micro_batches != nullptr;
  return fmt::format("{} {}", counted(plan.micro_batches.size(), "micro-batch", "micro-batches"),
                     is_formed ? "formed by the policy" : "in data order");
}

double gigabytes(std::int64_t bytes) { return static_cast<double>(bytes) / 1e9; }

int num_ranks_over_memory(const scheduler::PlanRequest& request, std::span<const std::int64_t> rank_bytes) {
  return static_cast<int>(
      std::count_if(rank_bytes.begin(), rank_bytes.end(), [&](std::int64_t b) { return b > request.topology.memory_bytes; }));
}

std::string rank_memory_text(const PlanningInput& input) {
  const std::string gpus = input.gpus_per_rank > 1 ? fmt::format(" ({} GPUs)", input.gpus_per_rank) : "";
  return fmt::format("a rank{} has {:.3f} GB, as cluster.memory_bytes says", gpus,
                     gigabytes(input.request.topology.memory_bytes));
}

std::string memory_shortage_text(const PlanningInput& input, const std::string& ranks) {
  const scheduler::PlanRequest& request = input.request;
  const std::int64_t memory = request.topology.memory_bytes;
  const scheduler::MemoryBytes state = scheduler::memory_bytes(request.model, input.sharding, 0);
  std::string advice;
  if (state.total() > memory) {
    advice = fmt::format("weights, gradients and moments alone take {:.3f} GB; change parallel.tp{}{}", gigabytes(state.total()),
                         request.model.num_experts > 0 ? ", parallel.ep" : "",
                         state.weights + state.gradients < memory ? " or the number of ranks (--world)" : " or the model");
  } else {
    advice = fmt::format(
        "beside weights, gradients and moments there is room for the activations of {} tokens of a micro-batch; change "
        "scheduler.token_cap_per_rank, scheduler.tokens_per_micro_batch, the policy or the number of ranks (--world)",
        (memory - state.total()) / scheduler::activation_bytes_per_token(request.model));
  }
  return fmt::format("{} need more memory than they have: {}", ranks, advice);
}

std::string planning_notes() {
  std::string text =
      "The step is the first one of the run's data, placed as training would: micro-batches are cut in data order. With "
      "--lengths\n"
      "it is a batch of those lengths instead, and a policy whose published rule forms micro-batches forms them.\n"
      "Without a run file, --cluster, --model and --lengths are all needed; policy ballast and 4096 tokens a rank are then the\n"
      "defaults: --set scheduler.tokens_per_step=N plans for another step, --set scheduler.token_cap_per_rank=N limits a "
      "rank.\n\n"
      "Forms of --lengths (CSV, lines with # are remarks; configs/workloads has some of each):\n"
      "  one length per line                     these sequences are the step\n"
      "  bin_lo_tokens,bin_hi_tokens,fraction    a distribution, from which a step is drawn by data.seed\n"
      "  quantile,length_tokens                  the same; the top 0.1 percent may stand in ..._tail_quantiles.csv beside it\n\n"
      "Policies:\n";
  for (const scheduler::Policy& policy : scheduler::policies()) text += fmt::format("  {:<18}{}\n", policy.name, policy.summary);
  return text;
}

}  // namespace ballast::launch
