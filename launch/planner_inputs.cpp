#include "launch/planner_inputs.h"

#include <fmt/format.h>

#include <filesystem>

#include "launch/config_file.h"
#include "launch/planning_input.h"
#include "runtime/train/run_config.pb.h"
#include "scheduler/cost/model_shape_io.h"
#include "scheduler/policy/policy_io.h"
#include "scheduler/topology/topology_io.h"

namespace ballast::launch {
namespace {

namespace fs = std::filesystem;

/// The first of: the file, the name that the run gives, the file of the run.
std::string name_of(const fs::path& file, const std::string& name, const fs::path& run_file) {
  if (!file.empty()) return file.stem();
  return name.empty() ? run_file.stem().string() : name;
}

/// Loads what is left of the command line after the grid took its part. Findings get the numbers of the whole line.
LoadedConfig load_rest(const ConfigSources& sources, const std::vector<int>& set_numbers) {
  try {
    return load_config(sources);
  } catch (const ConfigError& error) {
    std::vector<ConfigFinding> findings = error.findings();
    for (ConfigFinding& finding : findings) {
      for (std::size_t i = set_numbers.size(); i > 0 && finding.line == 0; --i) {
        if (finding.source != fmt::format("--set #{}", i)) continue;
        finding.source = fmt::format("--set #{}", set_numbers[i - 1]);
        break;
      }
    }
    throw ConfigError(std::move(findings));
  }
}

}  // namespace

std::vector<std::vector<std::int64_t>> PlannerLengths::batches(std::int64_t num_tokens, const schema::PlannerGrid& grid) const {
  if (is_list()) return {table.lengths};
  std::vector<std::vector<std::int64_t>> batches;
  std::int64_t position = 0;
  for (int seed = 0; seed < grid.seeds(); ++seed) {
    if (corpus) {
      batches.push_back(corpus->train.step_lengths(position, num_tokens));
      position += static_cast<std::int64_t>(batches.back().size());
    } else {
      batches.push_back(scheduler::draw_batch(table, {.num_tokens = num_tokens,
                                                      .longest_tokens = num_tokens,
                                                      .histogram_limit = grid.histogram_limit(),
                                                      .seed = static_cast<std::uint64_t>(seed)}));
    }
  }
  return batches;
}

PlannerInputs planner_inputs(const LoadedPlannerGrid& loaded) {
  const schema::PlannerGrid& grid = loaded.grid;
  PlannerInputs inputs;
  ConfigSources sources;
  sources.run_file = loaded.run_file;
  sources.set = loaded.set;
  sources.resizes_cluster = true;
  sources.has_own_lengths = grid.length_files_size() > 0;
  LoadedConfig config;
  // Without files of its own a run has one cluster and one model.
  for (int c = 0; c < std::max(1, grid.cluster_files_size()); ++c) {
    for (int m = 0; m < std::max(1, grid.model_files_size()); ++m) {
      if (grid.cluster_files_size() > 0) sources.cluster_file = grid.cluster_files(c);
      if (grid.model_files_size() > 0) sources.model_file = grid.model_files(m);
      config = load_rest(sources, loaded.set_numbers);
      const schema::RunConfig& run = *config.run;
      PlannerSetting setting{.cluster_name = name_of(sources.cluster_file, run.cluster().name(), sources.run_file),
                             .model_name = name_of(sources.model_file, run.model().name(), sources.run_file),
                             .cluster = scheduler::topology_from(run.cluster()),
                             .model = scheduler::model_shape_from(run.model()),
                             .degree = grid.tensor_parallel_size() > 0 ? grid.tensor_parallel(m) : run.parallel().tp()};
      if (!loaded.run_file.empty()) setting.options = scheduler::policy_options_from(run.scheduler());
      inputs.settings.push_back(std::move(setting));
    }
  }
  for (const std::string& file : grid.length_files()) {
    inputs.lengths.push_back({.name = fs::path(file).stem(), .table = load_length_table(file)});
  }
  if (inputs.lengths.empty()) {
    inputs.lengths.push_back(
        {.name = sources.run_file.stem(), .corpus = std::make_shared<const data::Corpus>(data::open_corpus(config.run->data()))});
  }
  return inputs;
}

}  // namespace ballast::launch
