// ballast bench planner: every policy on batches of real length distributions, planned and simulated.
//
// With --out, every batch is a line of that file when it is done; a batch that the file already has is not done again, so that a
// long grid goes on where it was cut.
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
#include "scheduler/policy/policy_io.h"
#include "scheduler/policy/registry.h"
#include "scheduler/remap/balanced_homes.h"
#include "scheduler/sim/planner_benchmark.h"
#include "scheduler/topology/tensor_parallel.h"
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
  if (const int count = grid.tensor_parallel_size(); count != 0 && count != grid.model_files_size()) {
    reading.add_finding(reading.positions["tensor_parallel"],
                        fmt::format("tensor_parallel: {} degrees for {} model files", count, grid.model_files_size()));
  }
  for (const int degree : grid.tensor_parallel()) {
    if (degree < 1) reading.add_finding(reading.positions["tensor_parallel"], fmt::format("tensor_parallel: {} GPUs", degree));
  }
  for (const std::int64_t tokens : grid.tokens_per_step()) {
    if (tokens < 0) reading.add_finding(reading.positions["tokens_per_step"], fmt::format("tokens_per_step: {}", tokens));
  }
  if (const std::vector<ConfigFinding> findings = reading.findings(); !findings.empty()) throw ConfigError(findings);
  for (const std::string& policy : grid.policies()) scheduler::find_policy(policy);
  for (const schema::PlannerVariant& variant : grid.variants()) scheduler::find_policy(variant.policy());
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
  std::int64_t tokens = 0;
  double token_cap = 0;
};

/// A batch of a cell, and what became of it.
struct Result {
  Cell cell;
  std::string row;  ///< name of the policy or variant
  int seed = 0;     ///< -1: no batch of the cell was tried
  double seconds = 0;
  PlannerScore score;
  /// What names it in a file of results.
  std::string key() const {
    return fmt::format("{} {} {} {} {} {} {} {}", cell.cluster, cell.model, cell.lengths, cell.gpus, cell.tokens, cell.token_cap,
                       row, seed);
  }
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

struct NumberField {
  const char* name;
  double PlannerScore::*value;
};
/// Absent (null) where a score is 0, which stands for what was not found out.
constexpr NumberField kNumberFields[] = {
    {"makespan_seconds", &PlannerScore::makespan_seconds},
    {"makespan_seconds_attention_overlap_only", &PlannerScore::makespan_seconds_attention_overlap_only},
    {"makespan_over_strict_bound", &PlannerScore::makespan_over_strict_bound},
    {"makespan_over_best_bound", &PlannerScore::makespan_over_best_bound},
    {"makespan_over_strict_bound_attention_overlap_only", &PlannerScore::makespan_over_strict_bound_attention_overlap_only},
    {"imbalance_full", &PlannerScore::imbalance_full},
    {"imbalance_attention", &PlannerScore::imbalance_attention},
    {"tokens_max_over_budget", &PlannerScore::tokens_max_over_budget},
};

std::string json_line(const Result& result) {
  const PlannerScore& score = result.score;
  nlohmann::ordered_json line = {{"policy", result.row},       {"cluster", result.cell.cluster},
                                 {"model", result.cell.model}, {"lengths", result.cell.lengths},
                                 {"gpus", result.cell.gpus},   {"tokens", result.cell.tokens},
                                 {"seed", result.seed},        {"token_cap", result.cell.token_cap}};
  for (const NumberField& field : kNumberFields) {
    const double value = score.*field.value;
    line[field.name] = value > 0 ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
  }
  line["exposed_communication_fraction"] =
      score.makespan_seconds > 0 ? nlohmann::ordered_json(score.exposed_communication_fraction) : nlohmann::ordered_json(nullptr);
  line["micro_batches"] = score.num_micro_batches;
  line["planning_ms"] = 1e3 * score.planning_seconds;
  line["seconds"] = result.seconds;
  if (!score.refusal.empty()) line["refusal"] = score.refusal;
  return line.dump();
}

Result result_of(const nlohmann::json& line) {
  Result result;
  result.row = line.at("policy");
  result.cell = {line.at("cluster"), line.at("model"),  line.at("lengths"),
                 line.at("gpus"),    line.at("tokens"), line.at("token_cap")};
  result.seed = line.at("seed");
  result.seconds = line.at("seconds");
  PlannerScore& score = result.score;
  const auto number = [&](const char* name) { return line.at(name).is_null() ? 0.0 : line.at(name).get<double>(); };
  for (const NumberField& field : kNumberFields) score.*field.value = number(field.name);
  score.exposed_communication_fraction = number("exposed_communication_fraction");
  score.num_micro_batches = line.at("micro_batches");
  score.planning_seconds = 1e-3 * line.at("planning_ms").get<double>();
  score.refusal = line.value("refusal", "");
  return result;
}

/// Results that are kept in a file, one line each.
class ResultFile {
 public:
  /// An empty path keeps nothing. A last line without an end is what was cut, and goes.
  explicit ResultFile(const std::string& path) {
    if (path.empty()) return;
    std::uintmax_t size = 0;
    int number = 0;
    std::ifstream before(path, std::ios::binary);
    for (std::string line; std::getline(before, line) && !before.eof(); size += line.size() + 1) {
      ++number;
      try {
        Result result = result_of(nlohmann::json::parse(line));
        known_.emplace(result.key(), std::move(result));
      } catch (const nlohmann::json::exception& error) {
        throw std::invalid_argument(fmt::format("{}:{}: not a result of bench planner: {}", path, number, error.what()));
      }
    }
    before.close();
    if (fs::exists(path)) fs::resize_file(path, size);
    file_.open(path, std::ios::binary | std::ios::app);
    if (!file_) throw std::runtime_error(fmt::format("{}: results cannot be written", path));
  }
  const Result* find(const std::string& key) const {
    const auto found = known_.find(key);
    return found == known_.end() ? nullptr : &found->second;
  }
  void add(const Result& result) {
    if (file_.is_open()) file_ << json_line(result) << std::endl;
  }

 private:
  std::map<std::string, Result> known_;
  std::ofstream file_;
};

/// Speed-ups of rows over the baseline on the same batches, each engine against itself.
class SpeedUps {
 public:
  void add(const Result& result) {
    if (result.score.makespan_seconds > 0) by_batch_[batch(result)][result.row] = result;
  }
  void print(const std::string& baseline, const std::vector<std::string>& rows, std::ostream& out) const {
    out << fmt::format(
        "\nSpeed-up over {}, mean/largest; attention: transfers hidden behind attention alone; all: behind linear work too\n",
        baseline);
    out << fmt::format("{:<24} {:<28} {:>7} {:>14} {:>14}\n", "policy", "of", "batches", "attention", "all");
    for (const std::string& row : rows) {
      if (row == baseline) continue;
      std::map<std::string, std::pair<Spread, Spread>> groups;  // names begin with the place of their kind
      for (const auto& [name, results] : by_batch_) {
        const auto base = results.find(baseline), own = results.find(row);
        if (base == results.end() || own == results.end()) continue;
        const Cell& cell = own->second.cell;
        for (const std::string& group :
             {std::string("0everything"), "1" + cell.cluster, "2" + cell.model, "3" + cell.lengths,
              fmt::format("4{:>4} GPUs", cell.gpus), fmt::format("5{:>6} tokens a GPU", cell.tokens / cell.gpus)}) {
          const PlannerScore& slow = base->second.score;
          const PlannerScore& fast = own->second.score;
          groups[group].first.add(slow.makespan_seconds_attention_overlap_only / fast.makespan_seconds_attention_overlap_only);
          groups[group].second.add(slow.makespan_seconds / fast.makespan_seconds);
        }
      }
      for (const auto& [group, spread] : groups) {
        out << fmt::format("{:<24} {:<28} {:>7} {:>14} {:>14}\n", row, group.substr(1), spread.first.count, spread.first.text(),
                           spread.second.text());
      }
    }
  }

 private:
  static std::string batch(Result result) {
    result.row.clear();
    return result.key();
  }
  std::map<std::string, std::map<std::string, Result>> by_batch_;
};

constexpr const char* kTableRow = "{:<24} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12} {:>16}{}\n";

class Grid {
 public:
  Grid(const CommandLine& line, schema::PlannerGrid grid) : line_(line), grid_(std::move(grid)), file_(line.out_path) {
    if (!line.policy.empty()) {
      grid_.clear_policies();
      grid_.clear_variants();
      grid_.add_policies(scheduler::find_policy(line.policy).name);
    }
    if (!line.cluster_path.empty()) replace(*grid_.mutable_cluster_files(), line.cluster_path);
    if (!line.model_path.empty()) {
      // A model of the grid keeps its degree.
      int degree = 1;
      for (int m = 0; m < grid_.tensor_parallel_size(); ++m) {
        if (fs::path(grid_.model_files(m)).stem() == fs::path(line.model_path).stem()) degree = grid_.tensor_parallel(m);
      }
      replace(*grid_.mutable_model_files(), line.model_path);
      grid_.clear_tensor_parallel();
      grid_.add_tensor_parallel(degree);
    }
    if (!line.lengths_path.empty()) replace(*grid_.mutable_length_files(), line.lengths_path);
    if (line.world) {
      grid_.clear_gpus();
      grid_.add_gpus(*line.world);
    }
    if (grid_.policies_size() == 0 && grid_.variants_size() == 0) {
      for (const scheduler::Policy& policy : scheduler::policies()) grid_.add_policies(policy.name);
    }
    for (const std::string& policy : grid_.policies()) {
      rows_.emplace_back();
      rows_.back().set_name(policy);
      rows_.back().set_policy(policy);
    }
    rows_.insert(rows_.end(), grid_.variants().begin(), grid_.variants().end());
    if (grid_.tokens_per_step_size() == 0) grid_.add_tokens_per_step(0);
    num_cells_ = grid_.cluster_files_size() * grid_.model_files_size() * grid_.length_files_size() * grid_.gpus_size() *
                 grid_.token_caps_size() * grid_.tokens_per_step_size();
  }

  void run() {
    for (const std::string& cluster_file : grid_.cluster_files()) {
      for (int m = 0; m < grid_.model_files_size(); ++m) {
        ConfigSources sources;
        sources.cluster_file = cluster_file;
        sources.model_file = grid_.model_files(m);
        sources.set = line_.set;
        const LoadedConfig config = load_config(sources);
        request_.model = scheduler::model_shape_from(config.run->model());
        const scheduler::Topology cluster = scheduler::topology_from(config.run->cluster());
        const int degree = grid_.tensor_parallel_size() > 0 ? grid_.tensor_parallel(m) : 1;
        for (const std::string& length_file : grid_.length_files()) {
          const scheduler::LengthTable table = load_length_table(length_file);
          too_slow_.clear();
          for (const int gpus : grid_.gpus()) {
            request_.topology = scheduler::tensor_parallel(scheduler::resized(cluster, gpus), degree);
            for (const double cap : grid_.token_caps()) {
              std::set<std::int64_t> sizes;
              for (const std::int64_t tokens : grid_.tokens_per_step()) {
                ++num_done_;
                const Cell cell{fs::path(cluster_file).stem(),
                                fs::path(sources.model_file).stem(),
                                fs::path(length_file).stem(),
                                gpus,
                                tokens > 0 ? tokens : grid_.tokens_per_rank() * gpus,
                                cap};
                if (sizes.insert(cell.tokens).second) run_cell(cell, table);
              }
            }
          }
        }
      }
    }
    if (grid_.has_baseline() && !line_.json) {
      std::vector<std::string> names;
      for (const schema::PlannerVariant& row : rows_) names.push_back(row.name());
      speed_ups_.print(grid_.baseline(), names, *line_.output);
    }
  }

 private:
  static void replace(google::protobuf::RepeatedPtrField<std::string>& list, const std::string& value) {
    list.Clear();
    *list.Add() = value;
  }

  void run_cell(const Cell& cell, const scheduler::LengthTable& table) {
    const int num_ranks = request_.topology.num_ranks();
    const std::int64_t budget = (cell.tokens + num_ranks - 1) / num_ranks;
    request_.options.tokens_per_rank = budget;
    request_.options.token_cap_per_rank = static_cast<std::int64_t>(cell.token_cap * static_cast<double>(budget));
    scheduler::BatchRequest batch;
    batch.num_tokens = batch.longest_tokens = cell.tokens;
    batch.histogram_limit = grid_.histogram_limit();

    if (!line_.json) {
      *line_.output << fmt::format("\n{}, {}, {}, {} GPUs, {} tokens, cap {}: mean/worst of {}\n", cell.cluster, cell.model,
                                   cell.lengths, cell.gpus, cell.tokens, cell.token_cap, grid_.seeds());
      *line_.output << fmt::format(kTableRow, "policy", "makespan", "no lin. ovl.", "imbalance", "attention", "tokens", "exposed",
                                   "planning ms", "");
    }
    for (const schema::PlannerVariant& variant : rows_) {
      const std::string& name = variant.name();
      Row row;
      for (int seed = 0; seed < grid_.seeds() && !too_slow_.contains(name); ++seed) {
        *line_.errors << fmt::format("\rcell {} of {}: {} {} {} GPUs, {} seed {}          ", num_done_, num_cells_, cell.cluster,
                                     cell.lengths, cell.gpus, name, seed)
                      << std::flush;
        Result result{cell, name, seed, 0, {}};
        if (const Result* known = file_.find(result.key())) {
          result = *known;
        } else {
          batch.seed = static_cast<std::uint64_t>(seed);
          request_.options.policy = variant.policy();
          request_.options.remap = scheduler::remap_from(variant.remap());
          request_.options.is_routed = scheduler::routing_from(variant.routing());
          request_.lengths = scheduler::draw_batch(table, batch);
          const auto begin = std::chrono::steady_clock::now();
          result.score = scheduler::score_planner(request_);
          result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
          file_.add(result);
        }
        if (result.seconds > grid_.most_seconds()) {
          too_slow_[name] = fmt::format("{:.0f} s for a batch at {} GPUs; at most {} are given", result.seconds, cell.gpus,
                                        grid_.most_seconds());
        }
        row.add(result.score);
        speed_ups_.add(result);
        if (line_.json) *line_.output << json_line(result) << std::endl;
      }
      if (row.planning_ms.count == 0) {
        row.refusal = too_slow_[name];
        Result nothing{cell, name, -1, 0, {}};
        nothing.score.refusal = row.refusal;
        if (file_.find(nothing.key()) == nullptr) file_.add(nothing);
        if (line_.json) *line_.output << json_line(nothing) << std::endl;
      }
      if (!line_.json) {
        *line_.output << fmt::format(kTableRow, name, row.makespan.text(), row.attention_only.text(), row.imbalance.text(),
                                     row.attention.text(), row.tokens.text(), row.exposed.text(), row.planning_ms.text(),
                                     row.refusal.empty() ? "" : "  " + row.refusal)
                      << std::flush;
      }
    }
    *line_.errors << "\r" << std::string(100, ' ') << "\r" << std::flush;
  }

  const CommandLine& line_;
  schema::PlannerGrid grid_;
  std::vector<schema::PlannerVariant> rows_;  // policies as they are, then variants
  ResultFile file_;
  SpeedUps speed_ups_;
  scheduler::PlanRequest request_;
  std::map<std::string, std::string> too_slow_;  // row, and why it is left out at larger sizes
  int num_cells_ = 0, num_done_ = 0;
};

}  // namespace

bool is_bench_planner(const CommandLine& line) { return !line.arguments.empty() && line.arguments[0] == "planner"; }

int run_bench_planner(const CommandLine& line) {
  Grid(line, read_grid(line.arguments[1])).run();
  return 0;
}

}  // namespace ballast::launch
