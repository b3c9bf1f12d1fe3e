// ballast bench planner: every policy on batches of real length distributions, planned and simulated.
//
// With --out, every batch is a line of that file when it is done; a batch that the file already has is not done again, so that a
// long grid goes on where it was cut.
#include "launch/commands/bench_planner.h"

#include <fmt/format.h>

#include <map>
#include <ostream>
#include <set>

#include "build_constants.h"
#include "launch/commands.h"
#include "launch/exit_code.h"
#include "launch/planner_grid.h"
#include "launch/planner_inputs.h"
#include "launch/planner_result_file.h"
#include "launch/planner_speed_ups.h"
#include "launch/planner_table.h"
#include "launch/planning_text.h"
#include "launch/progress_line.h"
#include "scheduler/policy/policy_io.h"
#include "scheduler/topology/tensor_parallel.h"

namespace ballast::launch {
namespace {

class GridRun {
 public:
  GridRun(const CommandLine& line, const LoadedPlannerGrid& loaded, const ScorePlanner& score)
      : line_(line),
        score_(score),
        rows_(loaded.rows),
        grid_(loaded.grid),
        inputs_(planner_inputs(loaded)),
        progress_(*line.errors),
        file_(line.out_path, [&](const std::string& text) { progress_.note(text); }) {
    if (loaded.lacks_baseline) {
      progress_.note(fmt::format("no speed-ups: --policy leaves their baseline, {}, out", grid_.baseline()));
      grid_.clear_baseline();
    }
    num_cells_ = static_cast<int>(inputs_.settings.size() * inputs_.lengths.size()) * std::max(1, grid_.gpus_size()) *
                 std::max(1, grid_.token_caps_size()) * std::max(1, grid_.tokens_per_step_size());
  }

  /// Returns: the exit code, that of the last failure.
  int run() {
    for (const PlannerSetting& setting : inputs_.settings) {
      for (const PlannerLengths& lengths : inputs_.lengths) run_sizes(setting, lengths);
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

  void run_sizes(const PlannerSetting& setting, const PlannerLengths& lengths) {
    too_slow_.clear();
    request_.model = setting.model;
    for (const int gpus : one_at_least(grid_.gpus(), setting.cluster.num_ranks())) {
      std::string unfit;
      try {
        request_.topology = scheduler::tensor_parallel(scheduler::resized(setting.cluster, gpus), setting.degree);
      } catch (const std::invalid_argument& error) {
        unfit = error.what();
      }
      for (const double cap : one_at_least(grid_.token_caps(), 0.0)) {
        std::set<std::int64_t> batch_sizes;
        for (std::int64_t tokens : one_at_least(grid_.tokens_per_step(), setting.options.tokens_per_step)) {
          ++num_done_;
          if (tokens == 0) tokens = grid_.tokens_per_rank() * gpus;
          if (lengths.is_list()) tokens = num_tokens(lengths.table.lengths);
          if (!batch_sizes.insert(tokens).second) continue;
          PlannerCell cell{setting.cluster_name, setting.model_name, lengths.name, gpus, tokens, cap};
          if (!unfit.empty()) {
            leave_out(cell, unfit);
            continue;
          }
          set_sizes(setting, cell);
          run_cell(cell, lengths);
        }
      }
    }
  }

  /// The list, or the one value that stands for an empty one.
  template <class List, class Value>
  static std::vector<Value> one_at_least(const List& list, Value value) {
    return list.empty() ? std::vector<Value>{value} : std::vector<Value>(list.begin(), list.end());
  }

  /// Budget and cap of the cell's batches; of a run, those that it says.
  void set_sizes(const PlannerSetting& setting, PlannerCell& cell) {
    scheduler::PolicyOptions& options = request_.options;
    options = setting.options;
    options.tokens_per_step = 0;
    const std::int64_t tokens =
        options.tokens_per_micro_batch > 0 ? std::min(options.tokens_per_micro_batch, cell.tokens) : cell.tokens;
    const int num_ranks = request_.topology.num_ranks();
    if (options.tokens_per_rank == 0) options.tokens_per_rank = (tokens + num_ranks - 1) / num_ranks;
    const auto budget = static_cast<double>(options.tokens_per_rank);
    if (cell.token_cap > 0) {
      options.token_cap_per_rank = static_cast<std::int64_t>(cell.token_cap * budget);
    } else {
      cell.token_cap = static_cast<double>(options.token_cap_per_rank) / budget;
    }
    options_ = options;
  }

  void run_cell(const PlannerCell& cell, const PlannerLengths& lengths) {
    std::vector<std::vector<std::int64_t>> batches;
    try {
      batches = lengths.batches(cell.tokens, grid_);
    } catch (const std::invalid_argument& error) {
      return leave_out(cell, error.what());
    }

    print(planner_table_head(cell, lengths.is_list() ? "one, the list" : std::to_string(batches.size())));
    for (const schema::PlannerVariant& variant : rows_) {
      const std::string& name = variant.name();
      request_.options.policy = variant.policy();
      request_.options.remap = variant.has_remap() ? scheduler::remap_from(variant.remap()) : options_.remap;
      request_.options.is_routed = variant.has_routing() ? scheduler::routing_from(variant.routing()) : options_.is_routed;
      PlannerRow row;
      for (std::size_t seed = 0; seed < batches.size() && !too_slow_.contains(name); ++seed) {
        request_.lengths = batches[seed];
        const PlannerResult result = result_of(cell, name, static_cast<int>(seed));
        if (result.score.seconds > grid_.most_seconds()) {
          too_slow_[name] = fmt::format("{:.0f} s for a batch at {} GPUs; at most {} are given", result.score.seconds, cell.gpus,
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
    bool is_failed = false;
    try {
      result.score = score_(request_);
    } catch (const std::exception& error) {
      is_failed = true;
      result.score.refusal = fmt::format("failed: {}", error.what());
      exit_code_ = exit_code_of(error);
      progress_.note(fmt::format("{}: {}", result.names(), result.score.refusal));
    }
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
  PlannerInputs inputs_;
  ProgressLine progress_;
  PlannerResultFile file_;
  PlannerSpeedUps speed_ups_;
  scheduler::PlanRequest request_;               // of the batch that is planned
  scheduler::PolicyOptions options_;             // of the cell, before a row changes them
  std::map<std::string, std::string> too_slow_;  // row, and why it is left out at larger sizes
  int num_cells_ = 0, num_done_ = 0;
  ExitCode exit_code_ = ExitCode::kDone;
};

}  // namespace

bool is_bench_planner(const CommandLine& line) { return !line.arguments.empty() && line.arguments[0] == "planner"; }

int run_bench_planner(const CommandLine& line) {
  scheduler::PlannerBenchmark benchmark;
  return run_bench_planner(line, [&](const scheduler::PlanRequest& request) { return benchmark.score(request); });
}

int run_bench_planner(const CommandLine& line, const ScorePlanner& score) {
  return GridRun(line, load_planner_grid(line), score).run();
}

}  // namespace ballast::launch
