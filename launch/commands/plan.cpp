// ballast plan: who computes what in the first step, and what it needs.
#include <fmt/format.h>

#include <fstream>
#include <ostream>
#include <span>
#include <vector>

#include "launch/commands.h"
#include "launch/planning_input.h"
#include "launch/planning_text.h"
#include "scheduler/cost/memory.h"
#include "scheduler/cost/rank_load.h"
#include "scheduler/plan/fingerprint.h"
#include "scheduler/plan/plan_io.h"

namespace ballast::launch {

namespace {

/// Ranks that the table shows; of more, the first and the last ones.
constexpr int kMostRows = 32;

void print_table(const PlanningInput& input, const scheduler::Plan& plan, const scheduler::PlanLoad& load,
                 std::span<const std::int64_t> memory, std::ostream& out) {
  const scheduler::PlanRequest& request = input.request;
  out << fmt::format("policy {}, {}, {}\n", plan.policy, step_text(request), micro_batches_text(request, plan));
  out << fmt::format("{:>6} {:>5} {:>12} {:>10} {:>14} {:>12} {:>12}\n", "rank", "node", "tokens", "pieces", "attention (s)",
                     "linear (s)", "memory (GB)");
  const int num_ranks = request.topology.num_ranks();
  for (int r = 0; r < num_ranks; ++r) {
    if (num_ranks > kMostRows && r == kMostRows / 2) {
      out << fmt::format("{:>6}\n", "...");
      r = num_ranks - kMostRows / 2;
    }
    const scheduler::RankLoad& rank = load.ranks[r];
    out << fmt::format("{:>6} {:>5} {:>12} {:>10} {:>14.6f} {:>12.6f} {:>12.3f}{}\n", r, request.topology.node_of_rank[r],
                       rank.tokens, rank.num_pieces, rank.attention_seconds, rank.linear_seconds, gigabytes(memory[r]),
                       memory[r] > request.topology.memory_bytes ? " !" : "");
  }
  out << fmt::format("imbalance (max / mean): work {:.4f}, attention {:.4f}, tokens {:.4f}\n", load.imbalance,
                     load.attention_imbalance, load.token_imbalance);
  out << fmt::format("tokens by zone: local {:.1f} %, node rings {:.1f} %, over nodes {:.1f} %\n", 100 * load.local_fraction,
                     100 * load.node_fraction, 100 * load.cluster_fraction);
  out << fmt::format(
      "memory: {}; buffers of receives and gradients that wait are not counted here, `ballast simulate` adds them\n",
      rank_memory_text(input));
  out << fmt::format("fingerprint {:016x}\n", scheduler::fingerprint(plan));
}

}  // namespace

int run_plan(const CommandLine& line) {
  const PlanningInput input = planning_input(line);
  const scheduler::PlanRequest& request = input.request;
  const scheduler::Plan plan = scheduler::make_plan(request);
  if (!line.out_path.empty()) {
    std::ofstream file(line.out_path, std::ios::binary);
    file << scheduler::plan_to_json(plan) << "\n";
    if (!file.flush()) throw std::runtime_error(fmt::format("{}: the plan cannot be written", line.out_path));
  }
  const scheduler::PlanLoad load = scheduler::plan_load(plan, request.model, request.topology);
  std::vector<std::int64_t> memory;
  for (const scheduler::RankLoad& rank : load.ranks)
    memory.push_back(scheduler::memory_bytes(request.model, input.sharding, rank.most_tokens).total());
  if (line.json) {
    *line.output << scheduler::plan_to_json(plan) << "\n";
  } else {
    print_table(input, plan, load, memory, *line.output);
  }
  if (const int num_over = num_ranks_over_memory(request, memory); num_over > 0) {
    // Where the answer is JSON, it goes beside it.
    std::ostream& out = line.json ? *line.errors : *line.output;
    out << memory_shortage_text(input, fmt::format("{} of {} ranks", num_over, memory.size())) << "\n";
  }
  return 0;
}

}  // namespace ballast::launch
