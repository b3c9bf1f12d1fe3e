#include "launch/planning_input.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "launch/config_file.h"
#include "runtime/data/corpus.h"
#include "runtime/train/run_config.pb.h"
#include "scheduler/cost/model_shape_io.h"
#include "scheduler/policy/policy_io.h"
#include "scheduler/topology/tensor_parallel.h"
#include "scheduler/topology/topology_io.h"

namespace ballast::launch {

namespace {

constexpr std::uintmax_t kLargestTable = 256 << 20;

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

scheduler::PlanRequest planning_request(const CommandLine& line) {
  const bool is_from_parts = !line.cluster_path.empty() && !line.model_path.empty() && !line.lengths_path.empty();
  if (line.arguments.empty() && !is_from_parts) throw UsageError("give a run file, or --cluster, --model and --lengths");
  ConfigSources sources;
  if (!line.arguments.empty()) sources.run_file = line.arguments[0];
  sources.model_file = line.model_path;
  sources.cluster_file = line.cluster_path;
  sources.set = line.set;
  sources.world = line.world;
  const LoadedConfig config = load_config(sources);
  const schema::RunConfig& run = *config.run;

  scheduler::PlanRequest request;
  request.topology = scheduler::tensor_parallel(scheduler::topology_from(run.cluster()), run.parallel().tp());
  request.model = scheduler::model_shape_from(run.model());
  request.options = scheduler::policy_options_from(run.scheduler());
  if (!line.policy.empty()) request.options.policy = line.policy;
  request.seed = run.data().seed();
  if (!line.lengths_path.empty()) {
    scheduler::BatchRequest batch;
    batch.num_tokens = request.options.tokens_per_step;
    batch.seed = request.seed;
    request.lengths = scheduler::draw_batch(load_length_table(line.lengths_path), batch);
  } else {
    request.lengths = data::open_corpus(run.data()).train.step_lengths(0, request.options.tokens_per_step);
  }
  return request;
}

}  // namespace ballast::launch
