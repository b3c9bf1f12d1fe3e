// ballast simulate: what a step would take, by policy.
#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <ostream>

#include "launch/commands.h"
#include "launch/planning_input.h"
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

scheduler::PlanRequest request_for(const scheduler::PlanRequest& request, const std::string& policy) {
  scheduler::PlanRequest result = request;
  result.options.policy = policy;
  result.planner_mode = true;
  return result;
}

Json row_of(const scheduler::PlanRequest& request, const scheduler::Plan& plan, const scheduler::SimulationReport& report) {
  const scheduler::Simulation& simulation = report.simulation;
  std::int64_t tokens = 0;
  for (const std::int64_t length : plan.lengths) tokens += length;
  Json row = {{"policy", plan.policy},
              {"ranks", request.topology.num_ranks()},
              {"nodes", request.topology.num_nodes()},
              {"sequences", plan.lengths.size()},
              {"tokens", tokens},
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
  return fmt::format("{:<18} {:>10} {:>8} {:>10} {:>9} {:>7} {:>9} {:>9} {:>11} {:>12}\n", "policy", "step (s)", "/ bound",
                     "no overlap", "imbalance", "busy %", "exposed %", "barrier %", "card (GB)", "memory (GB)");
}

std::string table_row(const scheduler::Plan& plan, const scheduler::SimulationReport& report) {
  const double bound = report.bounds.seconds();
  return fmt::format("{:<18} {:>10.4f} {:>8.4f} {:>10.4f} {:>9.4f} {:>7.1f} {:>9.1f} {:>9.1f} {:>11.2f} {:>12.1f}{}\n",
                     plan.policy, report.simulation.makespan_seconds, report.simulation.makespan_seconds / bound,
                     report.seconds_without_overlap / bound, report.imbalance, 100 * report.busy_fraction,
                     100 * report.exposed_fraction, 100 * report.barrier_fraction,
                     static_cast<double>(report.most_nic_bytes) / 1e9, static_cast<double>(report.most_memory_bytes) / 1e9,
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

scheduler::GanttChart chart_of(const scheduler::PlanRequest& request, const scheduler::Plan& plan,
                               const scheduler::SimulationReport& report) {
  return {timeline_of(request, plan, kDrawnLayers),
          {{"step, all layers", fmt::format("{:.4f} s", report.simulation.makespan_seconds)},
           {"over the bound", fmt::format("{:.3f}", report.simulation.makespan_seconds / report.bounds.seconds())},
           {"compute streams busy", fmt::format("{:.1f} %", 100 * report.busy_fraction)},
           {"idle because a message has to come", fmt::format("{:.1f} %", 100 * report.exposed_fraction)},
           {"through the fullest card group", fmt::format("{:.2f} GB", static_cast<double>(report.most_nic_bytes) / 1e9)},
           {"through the mean one", fmt::format("{:.2f} GB", report.mean_nic_bytes / 1e9)}}};
}

}  // namespace

int run_simulate(const CommandLine& line) {
  const bool is_all = line.policy == "all";
  CommandLine one = line;
  if (is_all) one.policy.clear();
  const scheduler::PlanRequest request = planning_request(one);
  std::vector<std::string> names;
  if (is_all) {
    for (const scheduler::Policy& policy : scheduler::policies()) names.emplace_back(policy.name);
    if (!line.out_path.empty() || !line.report_path.empty())
      throw UsageError("--out and --report draw one policy; name it with --policy instead of all");
  } else {
    names.push_back(request.options.policy);
  }

  if (!line.json) {
    const scheduler::StepBounds bounds =
        scheduler::step_bounds(request.lengths, request.model, request.topology, request.options.token_cap_per_rank);
    std::int64_t tokens = 0;
    for (const std::int64_t length : request.lengths) tokens += length;
    *line.output
        << fmt::format(
               "{} ranks on {} nodes, {} sequences, {} tokens; no plan is faster than {:.4f} s (work {:.4f}, cards {:.4f})\n",
               request.topology.num_ranks(), request.topology.num_nodes(), request.lengths.size(), tokens, bounds.seconds(),
               bounds.work_seconds, bounds.network_seconds)
        << table_head();
  }
  for (const std::string& name : names) {
    const scheduler::PlanRequest own = request_for(request, name);
    scheduler::Plan plan;
    try {
      plan = scheduler::make_plan(own);
    } catch (const scheduler::InfeasiblePlan& error) {
      if (!is_all) throw;
      if (line.json) {
        *line.output << Json({{"policy", name}, {"infeasible", error.what()}}).dump() << "\n";
      } else {
        *line.output << fmt::format("{:<18} {}\n", name, error.what());
      }
      continue;
    }
    const scheduler::SimulationReport report =
        scheduler::simulation_report(plan, own.model, own.topology, own.options.token_cap_per_rank);
    if (line.json) {
      *line.output << row_of(own, plan, report).dump() << "\n";
    } else {
      *line.output << table_row(plan, report);
    }
    line.output->flush();
    if (!line.out_path.empty()) {
      const scheduler::Timeline timelines[] = {timeline_of(own, plan, kTracedLayers)};
      write_file(line.out_path, scheduler::perfetto_json(timelines), "trace");
    }
    if (!line.report_path.empty()) {
      std::vector<scheduler::GanttChart> charts;
      if (name != kBaseline) {
        const scheduler::PlanRequest baseline = request_for(request, kBaseline);
        const scheduler::Plan other = scheduler::make_plan(baseline);
        charts.push_back(chart_of(
            baseline, other,
            scheduler::simulation_report(other, baseline.model, baseline.topology, baseline.options.token_cap_per_rank)));
      }
      charts.push_back(chart_of(own, plan, report));
      const std::string title =
          fmt::format("{} of equal layers, forward and backward, on {} ranks of {}", kDrawnLayers, request.topology.num_ranks(),
                      request.topology.name.empty() ? "the cluster" : request.topology.name);
      write_file(line.report_path, scheduler::gantt_html(title, charts), "picture");
    }
  }
  if (!line.json) {
    *line.output << "step: linear work of ready tokens and gradients of weights run behind transfers; no overlap: they do not.\n"
                    "All but the first column and imbalance are over the bound or over the step; ~: later layers are estimated\n"
                    "from those that were simulated.\n"
                 << kNotCounted << "\n";
  }
  return 0;
}

}  // namespace ballast::launch
