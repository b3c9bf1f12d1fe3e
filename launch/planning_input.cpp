#include "launch/planning_input.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "launch/config_file.h"
#include "runtime/data/corpus.h"
#include "runtime/train/run_config.pb.h"
#include "scheduler/cost/model_shape_io.h"
#include "scheduler/policy/policy_io.h"
#include "scheduler/policy/registry.h"
#include "scheduler/topology/tensor_parallel.h"
#include "scheduler/topology/topology_io.h"

namespace ballast::launch {

namespace {

constexpr std::uintmax_t kLargestTable = 256 << 20;
constexpr const char* kPolicyWithoutRun = "ballast";
constexpr std::int64_t kTokensPerRankWithoutRun = 4096;

std::string read_text(const std::filesystem::path& path) {
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (error) throw std::invalid_argument(fmt::format("{}: cannot be read: {}", path.string(), error.message()));
  if (size > kLargestTable)
    throw std::invalid_argument(fmt::format("{}: {} bytes; at most {} are read", path.string(), size, kLargestTable));
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

bool is_default(const LoadedConfig& config, std::string_view path) {
  return std::any_of(config.origins.begin(), config.origins.end(),
                     [&](const FieldOrigin& field) { return field.path == path && field.origin == "default"; });
}

}  // namespace

scheduler::LengthTable load_length_table(const std::string& path) {
  scheduler::LengthTable table = scheduler::parse_length_table(read_text(path), path);
  const std::string ending = "_quantiles.csv";
  if (!table.quantiles.empty() && path.ends_with(ending) && !path.ends_with("_tail" + ending)) {
    const std::string tail = path.substr(0, path.size() - ending.size()) + "_tail" + ending;
    if (std::filesystem::exists(tail)) scheduler::add_tail(table, scheduler::parse_length_table(read_text(tail), tail));
  }
  return table;
}

PlanningInput planning_input(const CommandLine& line) {
  const bool has_own_lengths = !line.lengths_path.empty();
  const bool has_run = !line.arguments.empty();
  if (!has_run && (line.cluster_path.empty() || line.model_path.empty() || !has_own_lengths))
    throw UsageError("give a run file, or --cluster, --model and --lengths");
  ConfigSources sources;
  if (has_run) sources.run_file = line.arguments[0];
  sources.model_file = line.model_path;
  sources.cluster_file = line.cluster_path;
  sources.set = line.set;
  sources.world = line.world;
  sources.resizes_cluster = true;
  sources.has_own_lengths = has_own_lengths;
  const LoadedConfig config = load_config(sources);
  const schema::RunConfig& run = *config.run;

  PlanningInput input;
  scheduler::PlanRequest& request = input.request;
  scheduler::Topology cluster = scheduler::topology_from(run.cluster());
  if (line.world) cluster = scheduler::resized(cluster, *line.world);
  input.gpus_per_rank = run.parallel().tp();
  request.topology = scheduler::tensor_parallel(cluster, input.gpus_per_rank);
  const int num_ranks = request.topology.num_ranks();
  input.sharding = {num_ranks, run.parallel().ep()};
  if (num_ranks % input.sharding.expert_parallel != 0) {
    throw std::invalid_argument(fmt::format("parallel.ep = {} does not divide the {} groups of {} ranks that parallel.tp makes",
                                            input.sharding.expert_parallel, num_ranks, input.gpus_per_rank));
  }
  request.model = scheduler::model_shape_from(run.model());
  request.options = scheduler::policy_options_from(run.scheduler());
  if (!has_run) {
    if (is_default(config, "scheduler.policy")) request.options.policy = kPolicyWithoutRun;
    if (is_default(config, "scheduler.tokens_per_step"))
      request.options.tokens_per_step = kTokensPerRankWithoutRun * cluster.num_ranks();
  }
  if (!line.policy.empty()) request.options.policy = scheduler::find_policy(line.policy).name;
  request.planner_mode = has_own_lengths;
  if (has_own_lengths) {
    scheduler::BatchRequest batch;
    batch.num_tokens = request.options.tokens_per_step;
    batch.seed = run.data().seed();
    request.lengths = scheduler::draw_batch(load_length_table(line.lengths_path), batch);
  } else {
    request.lengths = data::open_corpus(run.data()).train.step_lengths(0, request.options.tokens_per_step);
  }
  return input;
}

}  // namespace ballast::launch
