#include "scheduler/sim/report.h"

#include "scheduler/cost/memory.h"
#include "scheduler/cost/rank_load.h"

namespace ballast::scheduler {

SimulationReport simulation_report(const Plan& plan, const ModelShape& model, const Topology& topology, std::int64_t token_cap,
                                   int expert_parallel, const SimulationOptions& options) {
  SimulationReport report;
  report.bounds = step_bounds(plan.lengths, model, topology, token_cap);
  const PlanLoad load = plan_load(plan, model, topology);
  report.imbalance = load.imbalance;

  const Sharding sharding{topology.num_ranks(), expert_parallel};
  const Simulator simulator(plan, model, topology);
  report.simulation = simulator.run(options);
  for (std::size_t r = 0; r < load.ranks.size(); ++r) {
    const std::int64_t tokens = load.ranks[r].most_tokens;
    const RankTime& rank = report.simulation.ranks[r];
    report.peak_memory_bytes.push_back(memory_bytes(model, sharding, tokens).total() + rank.most_buffer_bytes +
                                       rank.most_deferred_layers * tokens * output_gradient_bytes_per_token(model));
    report.most_memory_bytes = std::max(report.most_memory_bytes, report.peak_memory_bytes.back());
  }
  SimulationOptions other = options;
  other.records_timeline = other.records_messages = false;
  other.overlaps_linear = false;
  report.seconds_without_overlap = simulator.run(other).makespan_seconds;

  const double makespan = report.simulation.makespan_seconds;
  if (makespan > 0) {
    const double all = makespan * static_cast<double>(report.simulation.ranks.size());
    for (const RankTime& rank : report.simulation.ranks) {
      report.busy_fraction += rank.busy_seconds() / all;
      report.exposed_fraction += rank.exposed_seconds / all;
      report.barrier_fraction += rank.barrier_seconds / all;
      report.done_fraction += (makespan - rank.end_seconds) / all;
    }
  }
  for (const NicBytes& nic : report.simulation.nics) {
    report.most_nic_bytes = std::max({report.most_nic_bytes, nic.sent, nic.received});
    report.mean_nic_bytes += static_cast<double>(nic.sent) / static_cast<double>(report.simulation.nics.size());
  }
  return report;
}

}  // namespace ballast::scheduler
