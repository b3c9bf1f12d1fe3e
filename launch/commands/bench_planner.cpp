// ballast bench planner: every policy on batches of real length distributions, planned and simulated.
//
// With --out, every batch is a line of that file when it is done; a batch that the file already has is not done again, so that a
// long grid goes on where it was cut.
#include "launch/commands/bench_planner.h"

#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <ostream>
#include <set>

#include "build_constants.h"
#include "launch/commands.h"
#include "launch/config_file.h"
#include "launch/exit_code.h"
#include "launch/planner_grid.h"
#include "launch/planner_result_file.h"
#include "launch/planner_speed_ups.h"
#include "launch/planner_table.h"
#include "launch/planning_input.h"
#include "launch/planning_text.h"
#include "launch/progress_line.h"
#include "runtime/train/run_config.pb.h"
#include "scheduler/cost/model_shape_io.h"
#include "scheduler/policy/policy_io.h"
#include "scheduler/topology/tensor_parallel.h"
#include "scheduler/topology/topology_io.h"

namespace ballast::launch {
namespace {

/// A cluster file and a model file of the grid.
struct Setting {
  std::string cluster_name, model_name;
  scheduler::Topology cluster;
  scheduler::ModelShape model;
  int degree = 1;  ///< neighbouring GPUs that share every layer
};

/// A file of lengths: a distribution, or a list that is a batch as it is.
struct Lengths {
  std::string name;
  scheduler::LengthTable table;
  bool is_list() const { return !table.lengths.empty(); }
};

class GridRun {
 public:
  GridRun(const CommandLine& line, LoadedPlannerGrid grid, const ScorePlanner& score)
      : line_(line),
        score_(score),
        rows_(std::move(grid.rows)),
        grid_(std::move(grid.grid)),
        progress_(*line.errors),
        file_(line.out_path, [&](const std::string& text) { progress_.note(text); }) {
    for (const std::string& cluster_file : grid_.cluster_files()) {
      for (int m = 0; m < grid_.model_files_size(); ++m) settings_.push_back(setting(cluster_file, m, grid.set));
    }
    for (const std::string& file : grid_.length_files()) {
      lengths_.push_back({std::filesystem::path(file).stem(), load_length_table(file)});
    }
    if (grid.lacks_baseline) {
      progress_.note(fmt::format("no speed-ups: --policy leaves their baseline, {}, out", grid_.baseline()));
      grid_.clear_baseline();
    }
    num_cells_ = static_cast<int>(settings_.size() * lengths_.size()) * std::max(1, grid_.gpus_size()) * grid_.token_caps_size() *
                 grid_.tokens_per_step_size();
  }

  /// Returns: the exit code, that of the last failure.
  int run() {
    for (const Setting& setting : settings_) {
      for (const Lengths& lengths : lengths_) run_sizes(setting, lengths);
    }
    if (!line_.json) print_summary();
    return static_cast<int>(exit_code_);
  }

 private:
  void print_summary() {
    print(planner_table_legend());
    if (!grid_.has_baseline()) return;
    std::vector<std::string> names;
    for (const schema::PlannerVariant& row : rows_) names.push_back(row.name());
    speed_ups_.print(grid_.baseline(), names, *line_.output);
  }

  Setting setting(const std::string& cluster_file, int m, const std::vector<std::string>& set) const {
    ConfigSources sources;
    sources.cluster_file = cluster_file;
    sources.model_file = grid_.model_files(m);
    sources.set = set;
    const LoadedConfig config = load_config(sources);
    return {sources.cluster_file.stem(), sources.model_file.stem(), scheduler::topology_from(config.run->cluster()),
            scheduler::model_shape_from(config.run->model()), grid_.tensor_parallel_size() > 0 ? grid_.tensor_parallel(m) : 1};
  }

  void run_sizes(const Setting& setting, const Lengths& lengths) {
    too_slow_.clear();
    request_.model = setting.model;
    std::vector<int> sizes(grid_.gpus().begin(), grid_.gpus().end());
    if (sizes.empty()) sizes.push_back(setting.cluster.num_ranks());
    for (const int gpus : sizes) {
      std::string unfit;
      try {
        request_.topology = scheduler::tensor_parallel(scheduler::resized(setting.cluster, gpus), setting.degree);
      } catch (const std::invalid_argument& error) {
        unfit = error.what();
      }
      for (const double cap : grid_.token_caps()) {
        std::set<std::int64_t> batch_sizes;
        for (std::int64_t tokens : grid_.tokens_per_step()) {
          ++num_done_;
          if (tokens == 0) tokens = grid_.tokens_per_rank() * gpus;
          if (lengths.is_list()) tokens = num_tokens(lengths.table.lengths);
          if (!batch_sizes.insert(tokens).second) continue;
          const PlannerCell cell{setting.cluster_name, setting.model_name, lengths.name, gpus, tokens, cap};
          unfit.empty() ? run_cell(cell, lengths) : leave_out(cell, unfit);
        }
      }
    }
  }

  void run_cell(const PlannerCell& cell, const Lengths& lengths) {
    std::vector<std::vector<std::int64_t>> batches;
    try {
      batches = batches_of(cell, lengths);
    } catch (const std::invalid_argument& error) {
      return leave_out(cell, error.what());
    }
    const int num_ranks = request_.topology.num_ranks();
    const std::int64_t budget = (cell.tokens + num_ranks - 1) / num_ranks;
    request_.options.tokens_per_rank = budget;
    request_.options.token_cap_per_rank = static_cast<std::int64_t>(cell.token_cap * static_cast<double>(budget));

    print(planner_table_head(cell, lengths.is_list() ? "one, the list" : std::to_string(batches.size())));
    for (const schema::PlannerVariant& variant : rows_) {
      const std::string& name = variant.name();
      request_.options.policy = variant.policy();
      request_.options.remap = scheduler::remap_from(variant.remap());
      request_.options.is_routed = scheduler::routing_from(variant.routing());
      PlannerRow row;
      for (std::size_t seed = 0; seed < batches.size() && !too_slow_.contains(name); ++seed) {
        request_.lengths = batches[seed];
        const PlannerResult result = result_of(cell, name, static_cast<int>(seed));
        if (result.seconds > grid_.most_seconds()) {
          too_slow_[name] = fmt::format("{:.0f} s for a batch at {} GPUs; at most {} are given", result.seconds, cell.gpus,
                                        grid_.most_seconds());
        }
        row.add(result.score);
        speed_ups_.add(result);
        print_json(result);
      }
      const std::string reason = too_slow_.contains(name) ? too_slow_[name] : "";
      if (row.is_empty()) keep_reason(cell, name, reason);
      print(row.text(name, reason));
    }
  }

  std::vector<std::vector<std::int64_t>> batches_of(const PlannerCell& cell, const Lengths& lengths) const {
    if (lengths.is_list()) return {lengths.table.lengths};
    scheduler::BatchRequest batch;
    batch.num_tokens = batch.longest_tokens = cell.tokens;
    batch.histogram_limit = grid_.histogram_limit();
    std::vector<std::vector<std::int64_t>> batches;
    for (int seed = 0; seed < grid_.seeds(); ++seed) {
      batch.seed = static_cast<std::uint64_t>(seed);
      batches.push_back(scheduler::draw_batch(lengths.table, batch));
    }
    return batches;
  }

  /// A cell of which no policy has a batch.
  void leave_out(const PlannerCell& cell, const std::string& reason) {
    print(planner_table_head(cell, "0") + fmt::format("n/a  {}\n", reason));
    for (const schema::PlannerVariant& row : rows_) keep_reason(cell, row.name(), reason);
  }

  /// A line of JSON that stands for all batches of a cell.
  void keep_reason(const PlannerCell& cell, const std::string& row, const std::string& reason) {
    PlannerResult nothing{.cell = cell, .row = row, .seed = -1, .commit = build::kCommit};
    nothing.score.refusal = reason;
    const PlannerResult* known = file_.find(nothing);
    if (known == nullptr || known->score.refusal != reason) file_.add(nothing);
    print_json(nothing);
  }

  /// Of the file, or made and kept.
  PlannerResult result_of(const PlannerCell& cell, const std::string& row, int seed) {
    PlannerResult result{.cell = cell, .row = row, .seed = seed, .inputs = input_hash(request_), .commit = build::kCommit};
    if (const PlannerResult* known = file_.find(result)) return *known;
    progress_.show(
        fmt::format("cell {} of {}: {} {} {} {} GPUs", num_done_, num_cells_, cell.cluster, cell.model, cell.lengths, cell.gpus),
        fmt::format("{} seed {}", row, seed));
    const auto begin = std::chrono::steady_clock::now();
    bool is_failed = false;
    try {
      result.score = score_(request_);
    } catch (const std::exception& error) {
      is_failed = true;
      result.score.refusal = fmt::format("failed: {}", error.what());
      exit_code_ = exit_code_of(error);
      progress_.note(fmt::format("{}: {}", result.names(), result.score.refusal));
    }
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (!is_failed) file_.add(result);  // or it would not be tried again
    return result;
  }

  /// Text of tables, and lines of JSON: one of the two is wanted.
  void print(const std::string& text) {
    if (line_.json) return;
    progress_.clear();
    *line_.output << text << std::flush;
  }
  void print_json(const PlannerResult& result) {
    if (!line_.json) return;
    progress_.clear();
    *line_.output << json_line(result) << std::endl;
  }

  const CommandLine& line_;
  const ScorePlanner& score_;
  std::vector<schema::PlannerVariant> rows_;
  schema::PlannerGrid grid_;
  ProgressLine progress_;
  PlannerResultFile file_;
  std::vector<Setting> settings_;
  std::vector<Lengths> lengths_;
  PlannerSpeedUps speed_ups_;
  scheduler::PlanRequest request_;
  std::map<std::string, std::string> too_slow_;  // row, and why it is left out at larger sizes
  int num_cells_ = 0, num_done_ = 0;
  ExitCode exit_code_ = ExitCode::kDone;
};

}  // namespace

bool is_bench_planner(const CommandLine& line) { return !line.arguments.empty() && line.arguments[0] == "planner"; }

int run_bench_planner(const CommandLine& line) {
  return run_bench_planner(line, [](const scheduler::PlanRequest& request) { return scheduler::score_planner(request); });
}

int run_bench_planner(const CommandLine& line, const ScorePlanner& score) {
  return GridRun(line, load_planner_grid(line), score).run();
}

}  // namespace ballast::launch
