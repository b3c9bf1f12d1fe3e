// ballast simulate: what a step would take, by policy.
#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <ostream>

#include "launch/commands.h"
#include "launch/planning_input.h"
#include "launch/planning_text.h"
#include "scheduler/policy/registry.h"
#include "scheduler/sim/report.h"
#include "scheduler/trace/gantt.h"
#include "scheduler/trace/perfetto.h"

namespace ballast::launch {

namespace {

using Json = nlohmann::ordered_json;

/// What the picture compares a policy with.
constexpr const char* kBaseline = "te_cp";
/// Of equal layers in a row, those that are drawn and traced.
constexpr int kDrawnLayers = 2;
constexpr int kTracedLayers = 4;

constexpr const char* kNotCounted =
    "Not counted: messages of experts, gradient reduction and update of parameters, start of kernels.";

/// A policy's plan of the step, simulated.
struct SimulatedPlan {
  scheduler::Plan plan;
  scheduler::SimulationReport report;
};

/// Throws: InfeasiblePlan.
SimulatedPlan simulated_plan(const PlanningInput& input, const std::string& policy) {
  scheduler::PlanRequest request = input.request;
  request.options.policy = policy;
  SimulatedPlan result{scheduler::make_plan(request), {}};
  result.report = scheduler::simulation_report(result.plan, request.model, request.topology, request.options.token_cap_per_rank,
                                               input.sharding.expert_parallel);
  return result;
}

Json row_of(const PlanningInput& input, const SimulatedPlan& simulated) {
  const scheduler::PlanRequest& request = input.request;
  const auto& [plan, report] = simulated;
  const scheduler::Simulation& simulation = report.simulation;
  Json row = {{"policy", plan.policy},
              {"ranks", request.topology.num_ranks()},
              {"gpus_per_rank", input.gpus_per_rank},
              {"nodes", request.topology.num_nodes()},
              {"sequences", plan.lengths.size()},
              {"tokens", num_tokens(plan.lengths)},
              {"micro_batches", plan.micro_batches.size()},
              {"is_routed", plan.is_routed},
              {"makespan_seconds", simulation.makespan_seconds},
              {"makespan_seconds_without_overlap", report.seconds_without_overlap},
              {"bound_work_seconds", report.bounds.work_seconds},
              {"bound_network_seconds", report.bounds.network_seconds},
              {"bound_seconds", report.bounds.seconds()},
              {"imbalance", report.imbalance},
              {"busy_fraction", report.busy_fraction},
              {"exposed_fraction", report.exposed_fraction},
              {"barrier_fraction", report.barrier_fraction},
              {"done_fraction", report.done_fraction},
              {"peak_memory_bytes", report.most_memory_bytes},
              {"rank_memory_bytes", request.topology.memory_bytes},
              {"ranks_over_memory", num_ranks_over_memory(request, report.peak_memory_bytes)},
              {"messages", simulation.num_messages},
              {"message_bytes", simulation.message_bytes},
              {"nic_bytes_most", report.most_nic_bytes},
              {"nic_bytes_mean", report.mean_nic_bytes},
              {"simulated_layers", simulation.num_simulated_layers},
              {"is_exact", simulation.is_exact}};
  Json ranks = Json::array();
  for (std::size_t r = 0; r < simulation.ranks.size(); ++r) {
    const scheduler::RankTime& rank = simulation.ranks[r];
    ranks.push_back({{"attention_seconds", rank.attention_seconds},
                     {"linear_seconds", rank.linear_seconds},
                     {"exposed_seconds", rank.exposed_seconds},
                     {"barrier_seconds", rank.barrier_seconds},
                     {"end_seconds", rank.end_seconds},
                     {"peak_memory_bytes", report.peak_memory_bytes[r]},
                     {"receive_buffer_bytes", rank.most_buffer_bytes}});
  }
  row["rank_times"] = std::move(ranks);
  Json cards = Json::array();
  for (std::size_t g = 0; g < simulation.nics.size(); ++g) {
    const scheduler::NicGroup& group = request.topology.nic_groups[g];
    cards.push_back({{"node", group.node},
                     {"first_card", group.first_nic},
                     {"cards", group.num_nics},
                     {"sent_bytes", simulation.nics[g].sent},
                     {"received_bytes", simulation.nics[g].received}});
  }
  row["cards"] = std::move(cards);
  return row;
}

std::string table_head() {
  return fmt::format("{:<18} {:>10} {:>8} {:>10} {:>9} {:>7} {:>9} {:>9} {:>7} {:>11} {:>12}\n", "policy", "step (s)", "/ bound",
                     "no overlap", "imbalance", "busy %", "exposed %", "barrier %", "batches", "card (GB)", "memory (GB)");
}

std::string table_row(const SimulatedPlan& simulated, int num_over_memory) {
  const auto& [plan, report] = simulated;
  const double bound = report.bounds.seconds();
  return fmt::format(
      "{:<18} {:>10.4f} {:>8.4f} {:>10.4f} {:>9.4f} {:>7.1f} {:>9.1f} {:>9.1f} {:>7} {:>11.3f} {:>12.3f}{}{}\n", plan.policy,
      report.simulation.makespan_seconds, report.simulation.makespan_seconds / bound, report.seconds_without_overlap / bound,
      report.imbalance, 100 * report.busy_fraction, 100 * report.exposed_fraction, 100 * report.barrier_fraction,
      plan.micro_batches.size(), gigabytes(report.most_nic_bytes), gigabytes(report.most_memory_bytes),
      num_over_memory > 0 ? fmt::format(" ! {} of {} ranks", num_over_memory, report.peak_memory_bytes.size()) : "",
      report.simulation.is_exact ? "" : "  ~");
}

void write_file(const std::string& path, const std::string& text, const char* what) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  if (!file.flush()) throw std::runtime_error(fmt::format("{}: the {} cannot be written", path, what));
}

scheduler::Timeline timeline_of(const scheduler::PlanRequest& request, const scheduler::Plan& plan, int most_repeats) {
  scheduler::SimulationOptions options;
  options.records_timeline = true;
  options.most_repeats = most_repeats;
  scheduler::Timeline timeline = scheduler::simulate(plan, request.model, request.topology, options).timeline;
  timeline.name = plan.policy;
  return timeline;
}

scheduler::GanttChart chart_of(const scheduler::PlanRequest& request, const SimulatedPlan& simulated) {
  const auto& [plan, report] = simulated;
  return {timeline_of(request, plan, kDrawnLayers),
          {{"step, all layers", fmt::format("{:.4f} s", report.simulation.makespan_seconds)},
           {"over the bound", fmt::format("{:.3f}", report.simulation.makespan_seconds / report.bounds.seconds())},
           {"compute streams busy", fmt::format("{:.1f} %", 100 * report.busy_fraction)},
           {"idle because a message has to come", fmt::format("{:.1f} %", 100 * report.exposed_fraction)},
           {"through the fullest card group", fmt::format("{:.3f} GB", gigabytes(report.most_nic_bytes))},
           {"through the mean one", fmt::format("{:.3f} GB", report.mean_nic_bytes / 1e9)}}};
}

/// The chart of the baseline, or why there is none.
scheduler::GanttChart baseline_chart(const PlanningInput& input) {
  try {
    return chart_of(input.request, simulated_plan(input, kBaseline));
  } catch (const scheduler::InfeasiblePlan& error) {
    scheduler::GanttChart chart;
    chart.timeline.name = kBaseline;
    chart.facts = {{"no plan", error.what()}};
    return chart;
  }
}

void write_report(const std::string& path, const PlanningInput& input, const SimulatedPlan& simulated) {
  std::vector<scheduler::GanttChart> charts;
  if (simulated.plan.policy != kBaseline) charts.push_back(baseline_chart(input));
  charts.push_back(chart_of(input.request, simulated));
  const scheduler::Topology& topology = input.request.topology;
  const std::string title =
      fmt::format("{} of equal layers, forward and backward, on {} of {}", kDrawnLayers,
                  counted(topology.node_of_rank.size(), "rank", "ranks"), topology.name.empty() ? "the cluster" : topology.name);
  write_file(path, scheduler::gantt_html(title, charts), "picture");
}

void print_head(const scheduler::PlanRequest& request, std::ostream& out) {
  const scheduler::StepBounds bounds =
      scheduler::step_bounds(request.lengths, request.model, request.topology, request.options.token_cap_per_rank);
  out << fmt::format("{}; no plan is faster than {:.4f} s (work {:.4f}, cards {:.4f})\n", step_text(request), bounds.seconds(),
                     bounds.work_seconds, bounds.network_seconds)
      << table_head();
}

void print_notes(const PlanningInput& input, bool is_memory_short, std::ostream& out) {
  out << "/ bound: step over what no plan can beat; no overlap: the same where linear work of ready tokens and gradients of "
         "weights\n"
         "do not run behind transfers; busy, exposed, barrier: parts of the step, mean over ranks; card: bytes of the fullest "
         "card\n"
         "group in its fuller direction; memory: of the fullest rank; ~: later layers are estimated from those that were "
         "simulated.\n"
      << fmt::format("batches: micro-batches, {}\n",
                     input.request.planner_mode ? "formed by the policy where its rule does so" : "in data order, as in training")
      << kNotCounted << "\n"
      << fmt::format("memory: {}\n", rank_memory_text(input));
  if (is_memory_short) out << memory_shortage_text(input, "!: ranks that") << "\n";
}

}  // namespace

int run_simulate(const CommandLine& line) {
  const bool is_all = line.policy == "all";
  if (is_all && (!line.out_path.empty() || !line.report_path.empty()))
    throw UsageError("--out and --report draw one policy; name it with --policy instead of all");
  CommandLine one = line;
  if (is_all) one.policy.clear();
  const PlanningInput input = planning_input(one);
  const scheduler::PlanRequest& request = input.request;
  std::vector<std::string> names;
  if (is_all) {
    for (const scheduler::Policy& policy : scheduler::policies()) names.emplace_back(policy.name);
  } else {
    names.push_back(request.options.policy);
  }

  bool is_memory_short = false;
  if (!line.json) print_head(request, *line.output);
  for (const std::string& name : names) {
    SimulatedPlan simulated;
    try {
      simulated = simulated_plan(input, name);
    } catch (const scheduler::InfeasiblePlan& error) {
      if (!is_all) throw;
      *line.output << (line.json ? Json({{"policy", name}, {"infeasible", error.what()}}).dump()
                                 : fmt::format("{:<18} {}", name, error.what()))
                   << "\n";
      continue;
    }
    const int num_over = num_ranks_over_memory(request, simulated.report.peak_memory_bytes);
    is_memory_short = is_memory_short || num_over > 0;
    *line.output << (line.json ? row_of(input, simulated).dump() + "\n" : table_row(simulated, num_over));
    line.output->flush();
    if (!line.out_path.empty()) {
      const scheduler::Timeline timelines[] = {timeline_of(request, simulated.plan, kTracedLayers)};
      write_file(line.out_path, scheduler::perfetto_json(timelines), "trace");
    }
    if (!line.report_path.empty()) write_report(line.report_path, input, simulated);
  }
  if (!line.json) print_notes(input, is_memory_short, *line.output);
  return 0;
}

}  // namespace ballast::launch
