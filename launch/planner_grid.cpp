#include "launch/planner_grid.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <sstream>

#include "launch/config_check.h"
#include "launch/config_file.h"
#include "launch/config_text.h"
#include "runtime/train/run_config.pb.h"
#include "scheduler/policy/registry.h"

namespace ballast::launch {
namespace {

namespace fs = std::filesystem;

/// What a grid has instead of a field of a run.
struct Counterpart {
  const char* run_field;
  const char* grid_field;
};
constexpr Counterpart kCounterparts[] = {
    {"scheduler.policy", "policies"},
    {"scheduler.tokens_per_step", "tokens_per_step"},
    {"scheduler.token_cap_per_rank", "token_caps, in multiples of the tokens over the ranks"},
    {"scheduler.tokens_per_rank", "tokens_per_rank"},
    {"scheduler.remap", "remap of one of its variants"},
    {"scheduler.routing", "routing of one of its variants"},
    {"parallel.tp", "tensor_parallel"},
    {"data.seed", "seeds, a number of batches"},
};

std::string read_grid_file(const std::string& path) {
  try {
    return read_config_file(path);
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(fmt::format("{}; wanted a grid as in configs/planner, or a run", error.what()));
  }
}

/// Applies those of `line.set` that name fields of the grid, and hands on the others that are read: those of a run or, without
/// one, of cluster and model.
void read_assignments(const CommandLine& line, LoadedPlannerGrid& loaded, ConfigReading& reading) {
  const bool has_run = !loaded.run_file.empty();
  for (std::size_t i = 0; i < line.set.size(); ++i) {
    const std::string& assignment = line.set[i];
    const std::string path = assignment.substr(0, assignment.find('='));
    const std::string name = path.substr(0, path.find_first_of(".["));
    const bool is_of_run =
        has_run && schema::RunConfig::descriptor()->FindFieldByName(name) != nullptr && path != "scheduler.policy";
    if (name == "cluster" || name == "model" || is_of_run) {
      loaded.set.push_back(assignment);
      loaded.set_numbers.push_back(static_cast<int>(i) + 1);
    } else if (schema::RunConfig::descriptor()->FindFieldByName(name) == nullptr) {
      read_config_assignment(assignment, static_cast<int>(i) + 1, loaded.grid, reading);
    } else {
      std::string instead = "only fields of cluster, of model and of the grid are";
      for (const Counterpart& counterpart : kCounterparts) {
        if (path == counterpart.run_field) instead = fmt::format("the grid says it: set {}", counterpart.grid_field);
      }
      reading.sources.push_back(fmt::format("--set #{}", i + 1));
      reading.add_finding({static_cast<int>(reading.sources.size()) - 1, 0, 1},
                          fmt::format("{} is not read by bench planner; {}", path, instead));
    }
  }
}

void replace(google::protobuf::RepeatedPtrField<std::string>& list, const std::string& value) {
  list.Clear();
  *list.Add() = value;
}

/// A model that the grid has keeps its degree.
void replace_model(const std::string& path, schema::PlannerGrid& grid) {
  int degree = 1;
  for (int m = 0; m < std::min(grid.tensor_parallel_size(), grid.model_files_size()); ++m) {
    if (fs::path(grid.model_files(m)).stem() == fs::path(path).stem()) degree = grid.tensor_parallel(m);
  }
  replace(*grid.mutable_model_files(), path);
  if (grid.tensor_parallel_size() == 0) return;
  grid.clear_tensor_parallel();
  grid.add_tensor_parallel(degree);
}

schema::PlannerVariant row_of(const std::string& policy) {
  schema::PlannerVariant row;
  row.set_policy(scheduler::find_policy(policy).name);
  row.set_name(row.policy());
  return row;
}

std::vector<schema::PlannerVariant> rows_of(const schema::PlannerGrid& grid) {
  std::vector<schema::PlannerVariant> rows;
  for (const std::string& policy : grid.policies()) rows.push_back(row_of(policy));
  if (grid.policies_size() == 0 && grid.variants_size() == 0) {
    for (const scheduler::Policy& policy : scheduler::policies()) rows.push_back(row_of(policy.name));
  }
  for (const schema::PlannerVariant& variant : grid.variants()) {
    scheduler::find_policy(variant.policy());
    rows.push_back(variant);
  }
  return rows;
}

/// The policies of the flag, each once.
std::vector<schema::PlannerVariant> rows_of(const std::string& policies) {
  std::vector<schema::PlannerVariant> rows;
  std::set<std::string> names;
  std::istringstream list(policies);
  for (std::string policy; std::getline(list, policy, ',');) {
    if (names.insert(policy).second) rows.push_back(row_of(policy));
  }
  return rows;
}

bool has_row(const std::vector<schema::PlannerVariant>& rows, const std::string& name) {
  return std::any_of(rows.begin(), rows.end(), [&](const schema::PlannerVariant& row) { return row.name() == name; });
}

/// Whether the first key of a file is one of a run; a grid has none of those.
bool is_run(const std::string& text) {
  std::istringstream lines(text);
  std::string line;
  do {
    if (!std::getline(lines >> std::ws, line)) return false;
  } while (line.starts_with('#'));
  const std::string key = line.substr(0, line.find_first_of(" \t:{"));
  return schema::RunConfig::descriptor()->FindFieldByName(key) != nullptr;
}

void check_values(const schema::PlannerGrid& grid, ConfigReading& reading) {
  const auto add = [&](const char* field, const std::string& text) { reading.add_finding(reading.positions[field], text); };
  for (const int gpus : grid.gpus()) {
    if (gpus < 1) add("gpus", fmt::format("gpus: {} is not a number of ranks", gpus));
  }
  for (const double cap : grid.token_caps()) {
    if (cap < 1) add("token_caps", fmt::format("token_caps: {} is below 1, so no batch fits", cap));
  }
  if (const int count = grid.tensor_parallel_size(); count != 0 && count != grid.model_files_size()) {
    add("tensor_parallel", fmt::format("tensor_parallel: {} degrees for {} model files", count, grid.model_files_size()));
  }
  for (const int degree : grid.tensor_parallel()) {
    if (degree < 1) add("tensor_parallel", fmt::format("tensor_parallel: {} GPUs", degree));
  }
  for (const std::int64_t tokens : grid.tokens_per_step()) {
    if (tokens < 0) add("tokens_per_step", fmt::format("tokens_per_step: {}", tokens));
  }
}

/// Names of rows differ, and the baseline is one of them.
void check_rows(const schema::PlannerGrid& grid, const std::vector<schema::PlannerVariant>& rows, ConfigReading& reading) {
  std::set<std::string> names;
  std::string known;
  for (const schema::PlannerVariant& row : rows) {
    if (!names.insert(row.name()).second) {
      reading.add_finding(reading.positions[grid.variants_size() > 0 ? "variants" : "policies"],
                          fmt::format("two rows are called \"{}\"", row.name()));
    }
    known += fmt::format("{}\"{}\"", known.empty() ? "" : ", ", row.name());
  }
  if (grid.has_baseline() && !has_row(rows, grid.baseline())) {
    reading.add_finding(reading.positions["baseline"],
                        fmt::format("baseline: \"{}\" is no row of the grid; choose one of {}", grid.baseline(), known));
  }
}

}  // namespace

LoadedPlannerGrid load_planner_grid(const CommandLine& line) {
  if (line.bench) throw UsageError("ballast bench planner measures nothing on this machine, so it takes no --bench");
  LoadedPlannerGrid loaded;
  schema::PlannerGrid& grid = loaded.grid;
  ConfigReading reading;
  const bool has_file = line.arguments.size() > 1;
  if (has_file) {
    const std::string& path = line.arguments[1];
    const std::string text = read_grid_file(path);
    if (is_run(text)) {
      loaded.run_file = path;
    } else {
      read_config_text(text, path, grid, "", reading);
      for (auto* files : {grid.mutable_cluster_files(), grid.mutable_model_files(), grid.mutable_length_files()}) {
        for (std::string& name : *files) name = (fs::path(path).parent_path() / name).string();
      }
    }
  }
  const bool has_run = !loaded.run_file.empty();
  read_assignments(line, loaded, reading);
  if (!line.cluster_path.empty()) replace(*grid.mutable_cluster_files(), line.cluster_path);
  if (!line.model_path.empty()) replace_model(line.model_path, grid);
  if (!line.lengths_path.empty()) replace(*grid.mutable_length_files(), line.lengths_path);
  if (line.world) {
    grid.clear_gpus();
    grid.add_gpus(*line.world);
  }

  const bool has_parts = grid.cluster_files_size() > 0 && grid.model_files_size() > 0 && grid.length_files_size() > 0;
  if (!has_file && !has_parts) {
    if (!reading.findings().empty()) throw ConfigError(reading.findings());
    throw UsageError("ballast bench planner: give a grid as in configs/planner, a run file, or --cluster, --model and --lengths");
  }
  check_fields(grid, "", reading);
  const auto want = [&](const char* field, int count) {
    if (count == 0 && !has_run) reading.add_finding({reading.main_source, 1, 1}, fmt::format("{}: give at least one", field));
  };
  want("cluster_files", grid.cluster_files_size());
  want("model_files", grid.model_files_size());
  want("length_files", grid.length_files_size());
  check_values(grid, reading);
  if (!reading.findings().empty()) throw ConfigError(reading.findings());
  loaded.rows = rows_of(grid);
  check_rows(grid, loaded.rows, reading);
  if (!reading.findings().empty()) throw ConfigError(reading.findings());

  if (!line.policy.empty()) {
    loaded.rows = rows_of(line.policy);
    loaded.lacks_baseline = grid.has_baseline() && !has_row(loaded.rows, grid.baseline());
  }
  if (grid.token_caps_size() == 0 && !has_run) grid.add_token_caps(1.1);
  if (grid.tokens_per_step_size() == 0 && (!has_run || grid.has_tokens_per_rank())) grid.add_tokens_per_step(0);
  return loaded;
}

std::string planner_notes() {
  return R"(planner compares policies on the same batches, each planned and simulated. It takes a grid as in configs/planner, a run file, or
--cluster, --model and --lengths; then all policies are compared on the whole cluster. --set reaches every field of the grid
(launch/planner_grid.proto: policies, seeds, gpus, token_caps, tokens_per_rank, ...), of clusters and of models; with a run file,
every field of the run. --json prints an object for each batch. --out FILE adds each of them to that file, and takes from it what
it has of the same inputs: what was computed from others stays there, what another version computed is used and named.
)";
}

}  // namespace ballast::launch
