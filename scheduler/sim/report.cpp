#include "scheduler/sim/report.h"

#include "scheduler/cost/memory.h"
#include "scheduler/cost/rank_load.h"

namespace ballast::scheduler {

SimulationReport simulation_report(const Plan& plan, const ModelShape& model, const Topology& topology, std::int64_t token_cap,
                                   const SimulationOptions& options) {
  SimulationReport report;
  report.bounds = step_bounds(plan.lengths, model, topology, token_cap);
  const PlanLoad load = plan_load(plan, model, topology);
  report.imbalance = load.imbalance;
  std::int64_t most_tokens = 0;
  for (const RankLoad& rank : load.ranks) most_tokens = std::max(most_tokens, rank.most_tokens);
  report.peak_memory_bytes = memory_bytes(model, {topology.num_ranks(), 1}, most_tokens).total();

  const Simulator simulator(plan, model, topology);
  report.simulation = simulator.run(options);
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
