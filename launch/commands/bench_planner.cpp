// ballast bench planner: every policy on batches of real length distributions, planned and simulated.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>
#include <set>
#include <sstream>

#include "launch/commands.h"
#include "launch/config_check.h"
#include "launch/config_file.h"
#include "launch/config_text.h"
#include "launch/planner_grid.pb.h"
#include "launch/planning_input.h"
#include "runtime/train/run_config.pb.h"
#include "scheduler/cost/model_shape_io.h"
#include "scheduler/policy/registry.h"
#include "scheduler/sim/planner_benchmark.h"
#include "scheduler/topology/topology_io.h"

namespace ballast::launch {
namespace {

using scheduler::PlannerScore;
namespace fs = std::filesystem;

schema::PlannerGrid read_grid(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::invalid_argument(fmt::format("{}: cannot be read; wanted a grid as in configs/planner", path));
  std::stringstream text;
  text << file.rdbuf();
  ConfigReading reading;
  schema::PlannerGrid grid;
  read_config_text(text.str(), path, grid, "", reading);
  check_fields(grid, "", reading);
  const auto want = [&](const char* field, int count) {
    if (count == 0) reading.add_finding({reading.main_source, 1, 1}, fmt::format("{}: give at least one", field));
  };
  want("cluster_files", grid.cluster_files_size());
  want("model_files", grid.model_files_size());
  want("length_files", grid.length_files_size());
  want("gpus", grid.gpus_size());
  want("token_caps", grid.token_caps_size());
  for (const int gpus : grid.gpus()) {
    if (gpus < 1) reading.add_finding(reading.positions["gpus"], fmt::format("gpus: {} is not a number of ranks", gpus));
  }
  for (const double cap : grid.token_caps()) {
    if (cap < 1)
      reading.add_finding(reading.positions["token_caps"], fmt::format("token_caps: {} is below 1, so no batch fits", cap));
  }
  if (const std::vector<ConfigFinding> findings = reading.findings(); !findings.empty()) throw ConfigError(findings);
  for (const std::string& policy : grid.policies()) scheduler::find_policy(policy);
  const fs::path folder = fs::path(path).parent_path();
  for (auto* files : {grid.mutable_cluster_files(), grid.mutable_model_files(), grid.mutable_length_files()}) {
    for (std::string& name : *files) name = (folder / name).string();
  }
  return grid;
}

/// One cell of the grid: everything but policy and seed.
struct Cell {
  std::string cluster, model, lengths;
  int gpus = 0;
  double token_cap = 0;
};

/// Mean and worst over the seeds.
struct Spread {
  double sum = 0, worst = 0;
  int count = 0;
  void add(double value) {
    sum += value;
    worst = std::max(worst, value);
    ++count;
  }
  std::string text() const { return count == 0 ? "n/a" : fmt::format("{:.3f}/{:.3f}", sum / count, worst); }
};

/// A cell of one policy over the seeds.
struct Row {
  Spread makespan, attention_only, imbalance, attention, tokens, exposed, planning_ms;
  std::string refusal;
  void add(const PlannerScore& score) {
    planning_ms.add(1e3 * score.planning_seconds);
    if (score.num_micro_batches > 0) {
      imbalance.add(score.imbalance_full);
      attention.add(score.imbalance_attention);
      tokens.add(score.tokens_max_over_budget);
    }
    if (score.makespan_over_strict_bound > 0) {
      makespan.add(score.makespan_over_strict_bound);
      attention_only.add(score.makespan_over_strict_bound_attention_overlap_only);
      exposed.add(score.exposed_communication_fraction);
    }
    if (!score.refusal.empty()) refusal = score.refusal;
  }
};

nlohmann::ordered_json json_row(const Cell& cell, const std::string& policy, int seed, const PlannerScore& score) {
  const auto known = [](double value) { return value > 0 ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr); };
  const bool is_simulated = score.makespan_over_strict_bound > 0;
  nlohmann::ordered_json row = {
      {"policy", policy},
      {"cluster", cell.cluster},
      {"model", cell.model},
      {"lengths", cell.lengths},
      {"gpus", cell.gpus},
      {"seed", seed},
      {"token_cap", cell.token_cap},
      {"makespan_over_strict_bound", known(score.makespan_over_strict_bound)},
      {"makespan_over_best_bound", known(score.makespan_over_best_bound)},
      {"makespan_over_strict_bound_attention_overlap_only", known(score.makespan_over_strict_bound_attention_overlap_only)},
      {"imbalance_full", known(score.imbalance_full)},
      {"imbalance_attention", known(score.imbalance_attention)},
      {"tokens_max_over_budget", known(score.tokens_max_over_budget)},
      {"exposed_communication_fraction",
       is_simulated ? nlohmann::ordered_json(score.exposed_communication_fraction) : nlohmann::ordered_json(nullptr)},
      {"micro_batches", score.num_micro_batches},
      {"planning_ms", 1e3 * score.planning_seconds}};
  if (!score.refusal.empty()) row["refusal"] = score.refusal;
  return row;
}

constexpr const char* kTableRow = "{:<18} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12} {:>16}{}\n";

class Grid {
 public:
  Grid(const CommandLine& line, schema::PlannerGrid grid) : line_(line), grid_(std::move(grid)) {
    if (!line.policy.empty()) {
      grid_.clear_policies();
      grid_.add_policies(scheduler::find_policy(line.policy).name);
    }
    if (!line.cluster_path.empty()) replace(*grid_.mutable_cluster_files(), line.cluster_path);
    if (!line.model_path.empty()) replace(*grid_.mutable_model_files(), line.model_path);
    if (!line.lengths_path.empty()) replace(*grid_.mutable_length_files(), line.lengths_path);
    if (line.world) {
      grid_.clear_gpus();
      grid_.add_gpus(*line.world);
    }
    if (grid_.policies_size() == 0) {
      for (const scheduler::Policy& policy : scheduler::policies()) grid_.add_policies(policy.name);
    }
    num_cells_ = grid_.cluster_files_size() * grid_.model_files_size() * grid_.length_files_size() * grid_.gpus_size() *
                 grid_.token_caps_size();
  }

  void run() {
    for (const std::string& cluster_file : grid_.cluster_files()) {
      for (const std::string& model_file : grid_.model_files()) {
        ConfigSources sources;
        sources.cluster_file = cluster_file;
        sources.model_file = model_file;
        sources.set = line_.set;
        const LoadedConfig config = load_config(sources);
        request_.model = scheduler::model_shape_from(config.run->model());
        const scheduler::Topology cluster = scheduler::topology_from(config.run->cluster());
        for (const std::string& length_file : grid_.length_files()) {
          const scheduler::LengthTable table = load_length_table(length_file);
          too_slow_.clear();
          for (const int gpus : grid_.gpus()) {
            request_.topology = scheduler::resized(cluster, gpus);
            for (const double cap : grid_.token_caps()) {
              run_cell({fs::path(cluster_file).stem(), fs::path(model_file).stem(), fs::path(length_file).stem(), gpus, cap},
                       table);
            }
          }
        }
      }
    }
  }

 private:
  static void replace(google::protobuf::RepeatedPtrField<std::string>& list, const std::string& value) {
    list.Clear();
    *list.Add() = value;
  }

  void run_cell(const Cell& cell, const scheduler::LengthTable& table) {
    const std::int64_t budget = grid_.tokens_per_rank();
    request_.options.tokens_per_rank = budget;
    request_.options.token_cap_per_rank = static_cast<std::int64_t>(cell.token_cap * static_cast<double>(budget));
    scheduler::BatchRequest batch;
    batch.num_tokens = batch.longest_tokens = budget * cell.gpus;
    batch.histogram_limit = grid_.histogram_limit();

    ++num_done_;
    if (!line_.json) {
      *line_.output << fmt::format("\n{}, {}, {}, {} GPUs, cap {}: mean/worst of {}\n", cell.cluster, cell.model, cell.lengths,
                                   cell.gpus, cell.token_cap, grid_.seeds());
      *line_.output << fmt::format(kTableRow, "policy", "makespan", "no lin. ovl.", "imbalance", "attention", "tokens", "exposed",
                                   "planning ms", "");
    }
    for (const std::string& policy : grid_.policies()) {
      Row row;
      for (int seed = 0; seed < grid_.seeds() && !too_slow_.contains(policy); ++seed) {
        *line_.errors << fmt::format("\rcell {} of {}: {} {} {} GPUs, {} seed {}          ", num_done_, num_cells_, cell.cluster,
                                     cell.lengths, cell.gpus, policy, seed)
                      << std::flush;
        batch.seed = static_cast<std::uint64_t>(seed);
        request_.options.policy = policy;
        request_.lengths = scheduler::draw_batch(table, batch);
        const auto begin = std::chrono::steady_clock::now();
        const PlannerScore score = scheduler::score_planner(request_);
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        if (seconds > grid_.most_seconds()) {
          too_slow_[policy] =
              fmt::format("{:.0f} s for a batch at {} GPUs; at most {} are given", seconds, cell.gpus, grid_.most_seconds());
        }
        row.add(score);
        if (line_.json) *line_.output << json_row(cell, policy, seed, score).dump() << std::endl;
      }
      if (row.planning_ms.count == 0) {
        row.refusal = too_slow_[policy];
        PlannerScore nothing;
        nothing.refusal = row.refusal;
        if (line_.json) *line_.output << json_row(cell, policy, -1, nothing).dump() << std::endl;
      }
      if (!line_.json) {
        *line_.output << fmt::format(kTableRow, policy, row.makespan.text(), row.attention_only.text(), row.imbalance.text(),
                                     row.attention.text(), row.tokens.text(), row.exposed.text(), row.planning_ms.text(),
                                     row.refusal.empty() ? "" : "  " + row.refusal)
                      << std::flush;
      }
    }
    *line_.errors << "\r" << std::string(100, ' ') << "\r" << std::flush;
  }

  const CommandLine& line_;
  schema::PlannerGrid grid_;
  scheduler::PlanRequest request_;
  std::map<std::string, std::string> too_slow_;  // policy, and why it is left out at larger sizes
  int num_cells_ = 0, num_done_ = 0;
};

}  // namespace

bool is_bench_planner(const CommandLine& line) { return !line.arguments.empty() && line.arguments[0] == "planner"; }

int run_bench_planner(const CommandLine& line) {
  Grid(line, read_grid(line.arguments[1])).run();
  return 0;
}

}  // namespace ballast::launch
