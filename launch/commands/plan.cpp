// ballast plan: who computes what in the first step, and what it needs.
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <ostream>

#include "launch/commands.h"
#include "launch/exit_code.h"
#include "launch/planning_input.h"
#include "scheduler/cost/memory.h"
#include "scheduler/cost/rank_load.h"
#include "scheduler/plan/fingerprint.h"
#include "scheduler/plan/plan_io.h"

namespace ballast::launch {

namespace {

/// Ranks that the table shows; of more, the first and the last ones.
constexpr int kMostRows = 32;

void print_table(const scheduler::PlanRequest& request, const scheduler::Plan& plan, std::ostream& out) {
  const scheduler::PlanLoad load = scheduler::plan_load(plan, request.model, request.topology);
  const int num_ranks = request.topology.num_ranks();
  std::int64_t tokens = 0;
  for (const std::int64_t length : plan.lengths) tokens += length;
  out << fmt::format("policy {}, {} ranks on {} nodes, {} sequences, {} tokens, {} micro-batch{}\n", plan.policy, num_ranks,
                     request.topology.num_nodes(), plan.lengths.size(), tokens, plan.micro_batches.size(),
                     plan.micro_batches.size() == 1 ? "" : "es");
  out << fmt::format("{:>6} {:>5} {:>12} {:>10} {:>14} {:>12} {:>12}\n", "rank", "node", "tokens", "pieces", "attention (s)",
                     "linear (s)", "memory (MB)");
  const auto row = [&](int r) {
    const scheduler::RankLoad& rank = load.ranks[r];
    const std::int64_t bytes = scheduler::memory_bytes(request.model, {num_ranks, 1}, rank.most_tokens).total();
    out << fmt::format("{:>6} {:>5} {:>12} {:>10} {:>14.6f} {:>12.6f} {:>12.1f}\n", r, request.topology.node_of_rank[r],
                       rank.tokens, rank.num_pieces, rank.attention_seconds, rank.linear_seconds,
                       static_cast<double>(bytes) / 1e6);
  };
  for (int r = 0; r < num_ranks; ++r) {
    if (num_ranks > kMostRows && r == kMostRows / 2) {
      out << fmt::format("{:>6}\n", "...");
      r = num_ranks - kMostRows / 2;
    }
    row(r);
  }
  out << fmt::format("imbalance (max / mean): work {:.4f}, attention {:.4f}, tokens {:.4f}\n", load.imbalance,
                     load.attention_imbalance, load.token_imbalance);
  out << fmt::format("tokens by zone: local {:.1f} %, node rings {:.1f} %, over nodes {:.1f} %\n", 100 * load.local_fraction,
                     100 * load.node_fraction, 100 * load.cluster_fraction);
  out << fmt::format("fingerprint {:016x}\n", scheduler::fingerprint(plan));
}

}  // namespace

int run_plan(const CommandLine& line) {
  const scheduler::PlanRequest request = planning_request(line);
  const scheduler::Plan plan = scheduler::make_plan(request);
  if (!line.out_path.empty()) {
    std::ofstream file(line.out_path, std::ios::binary);
    file << scheduler::plan_to_json(plan) << "\n";
    if (!file.flush()) throw std::runtime_error(fmt::format("{}: the plan cannot be written", line.out_path));
  }
  if (line.json) {
    *line.output << scheduler::plan_to_json(plan) << "\n";
  } else {
    print_table(request, plan, *line.output);
  }
  return 0;
}

}  // namespace ballast::launch
