#include "runtime/train/train_loop.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <future>
#include <optional>
#include <ostream>

#include "build_constants.h"
#include "runtime/checkpoint/run_folder.h"
#include "runtime/comm/broadcast_text.h"
#include "runtime/data/bigram_baseline.h"
#include "runtime/eval/held_out.h"
#include "runtime/generate/generate.h"
#include "runtime/metrics/console_sink.h"
#include "runtime/metrics/host_memory.h"
#include "runtime/metrics/jsonl_sink.h"
#include "runtime/metrics/metrics_file.h"
#include "runtime/metrics/metrics_log.h"
#include "runtime/metrics/throughput.h"
#include "runtime/train/run_config.pb.h"
#include "runtime/train/summary.h"
#include "runtime/train/train_state.h"
#include "runtime/train/trainer.h"
#include "scheduler/cost/flops.h"
#include "scheduler/cost/rank_load.h"

namespace ballast::train {
namespace {

using checkpoint::ExitCode;
using checkpoint::StopRequest;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

/// One training run; every rank has one.
class Run {
 public:
  Run(const RunInput& input, comm::Communicator& world, bool is_resumed, std::ostream& console)
      : input_(input), config_(input.config), world_(world), console_(console), trainer_(input.config, world) {
    open_folder(is_resumed);
    total_steps_ = expected_steps(trainer_.corpus().train, config_.scheduler().tokens_per_step(), config_.train().total_tokens());
    if (is_resumed) resume();
    if (is_speaker()) {
      log_.emplace(console_);
      log_->add_sink(std::make_unique<metrics::ConsoleSink>(console_), config_.metrics().log_every_steps());
      log_->add_sink(std::make_unique<metrics::JsonlSink>(path_ / metrics::kMetricsFile, progress_.step),
                     config_.metrics().jsonl_every_steps());
    }
  }

  ExitCode execute() {
    measure_gemm_rate();
    announce();
    const std::int64_t first_step = progress_.step;
    ExitCode code = ExitCode::kDone;
    while (progress_.consumed_tokens < config_.train().total_tokens()) {
      const StopRequest stop = train_step();
      if (stop == StopRequest::kStopNow) return end(ExitCode::kInterrupted, "stopped at once, as asked; nothing was saved");
      if (num_not_finite_in_a_row_ >= kMaxNotFinite) {
        return end(ExitCode::kNumeric, fmt::format("loss or gradients were not finite in {} steps in a row", kMaxNotFinite));
      }
      const bool is_last = progress_.consumed_tokens >= config_.train().total_tokens();
      if (is_last) break;
      const bool has_done_its_steps =
          config_.train().stop_after_steps() > 0 && progress_.step - first_step >= config_.train().stop_after_steps();
      if (stop == StopRequest::kSaveAndStop || has_done_its_steps) {
        code = save();
        return end(code == ExitCode::kDone ? ExitCode::kAgain : code,
                   fmt::format("saved at step {}; the same command with --resume goes on", progress_.step));
      }
      const std::int64_t every = config_.checkpoint().every_steps();
      if (every > 0 && progress_.step % every == 0) code = save();
      if (code != ExitCode::kDone) return end(code, "saving failed too often in a row");
      const std::int64_t evaluate_every = config_.eval().every_steps();
      if (evaluate_every > 0 && progress_.step % evaluate_every == 0) say_held_out(evaluate());
    }
    code = save();
    if (code != ExitCode::kDone) return end(code, "the last save failed");
    finish();
    return end(ExitCode::kDone, "");
  }

 private:
  static constexpr int kMaxNotFinite = 3;

  bool is_speaker() const { return world_.rank() == 0; }

  template <class... Values>
  void say(fmt::format_string<Values...> format, Values&&... values) {
    if (is_speaker()) console_ << fmt::format(format, std::forward<Values>(values)...) << std::endl;
  }

  void open_folder(bool is_resumed) {
    std::string path;
    if (is_speaker()) {
      folder_.emplace(is_resumed ? checkpoint::RunFolder::resume(config_.train().run_folder())
                                 : checkpoint::RunFolder::create(config_.train().run_folder()));
      for (const std::string& note : folder_->notes()) say("{}", note);
      for (const auto& [name, content] : input_.files) std::ofstream(folder_->path() / name, std::ios::binary) << content;
      folder_->write_status({});
      path = folder_->path().string();
      run_id_ = folder_->run_id();
    }
    path_ = comm::broadcast_text(world_, path, 0);
    run_id_ = comm::broadcast_text(world_, run_id_, 0);
  }

  void resume() {
    const checkpoint::Found found = checkpoint::find_newest(world_, path_ / "checkpoints");
    for (const std::string& line : found.report) say("{}", line);
    if (!found.checkpoint) throw checkpoint::NothingToResume(path_.string() + ": there is no checkpoint to go on from");
    const checkpoint::TrainingPoint& point = found.checkpoint->manifest().point;
    if (point.config_hash != input_.config_hash) {
      throw std::invalid_argument(fmt::format("{}: the run was saved with another config; resume needs the same values:\n{}",
                                              found.checkpoint->folder().string(),
                                              input_.describe_differences(point.config_text)));
    }
    progress_ = train::resume(trainer_, *found.checkpoint);
    parent_ = last_checkpoint_ = found.checkpoint->folder().filename().string();
    last_durable_step_ = progress_.step;
  }

  void measure_gemm_rate() { gemm_rate_ = std::max(gemm_rate_, trainer_.measure_gemm_rate(0.1)); }

  void announce() {
    const data::Corpus& corpus = trainer_.corpus();
    const scheduler::NumParameters parameters = scheduler::num_parameters(trainer_.planning().model);
    say("ballast {} ({}), torch {}, {} build", build::kVersion, build::kCommit, build::kTorchVersion, build::kBuildType);
    say("run folder {}, {} rank{}, ep {}, {} threads per rank, compute type {}", path_.string(), world_.size(),
        world_.size() == 1 ? "" : "s", trainer_.mesh().ep().size(), at::get_num_threads(),
        toString(trainer_.transformer().config().dtype));
    say("model {}: {:.2f} M parameters ({:.2f} M in experts)", config_.model().name(),
        static_cast<double>(parameters.total()) / 1e6, static_cast<double>(parameters.expert) / 1e6);
    say("data: {} documents to train on ({} tokens in {} sequences, {} documents cut at {}), {} held out, {} empty ones skipped",
        corpus.train.num_documents(), corpus.train.num_tokens(), corpus.train.num_sequences(), corpus.train.num_cut_documents(),
        config_.data().max_sequence_tokens(), corpus.held_out.num_documents(), corpus.documents->num_empty());
    say("flops: formula {}; GEMM rate of all ranks {:.1f} GFLOP/s, measured now", scheduler::kFlopsFormula, gemm_rate_ / 1e9);
    say("training to {} tokens in about {} steps of at most {}, from step {}", config_.train().total_tokens(), total_steps_,
        config_.scheduler().tokens_per_step(), progress_.step);
  }

  /// This step, and starts to plan the next one: planning hides behind the training of the step before.
  Step take_step() {
    Step step = next_step_.valid() ? next_step_.get() : trainer_.plan_step(progress_.step, progress_.consumed_samples);
    const std::int64_t next_sample = progress_.consumed_samples + static_cast<std::int64_t>(step.sequences.size());
    if (progress_.consumed_tokens + step.num_tokens() < config_.train().total_tokens()) {
      next_step_ = std::async(std::launch::async,
                              [this, next = progress_.step + 1, next_sample] { return trainer_.plan_step(next, next_sample); });
    }
    return step;
  }

  StopRequest train_step() {
    const Clock::time_point begin = Clock::now();
    trainer_.clock().take();
    const Step step = take_step();
    const double rate = optim::learning_rate(trainer_.lr_schedule(), std::min(progress_.step, total_steps_ - 1), total_steps_);
    const StepResult result = trainer_.run(step, rate);

    progress_.step += 1;
    progress_.consumed_samples += static_cast<std::int64_t>(step.sequences.size());
    progress_.consumed_tokens += step.num_tokens();
    progress_.skipped_steps += result.is_finite ? 0 : 1;
    num_not_finite_in_a_row_ = result.is_finite ? 0 : num_not_finite_in_a_row_ + 1;

    StopRequest stop = input_.stop_requested();
    const double limit = config_.train().stop_after_seconds();
    if (limit > 0 && seconds_since(begin_) >= limit) stop = std::max(stop, StopRequest::kSaveAndStop);
    const double own_seconds = seconds_since(begin);
    const metrics::PhaseClock::Seconds phases = trainer_.clock().take();
    const std::vector<RankReport> reports =
        gather({.step_seconds = own_seconds,
                .comm_seconds = phases[static_cast<std::size_t>(metrics::StepPhase::kCommunication)],
                .resident_bytes = static_cast<double>(metrics::host_memory().peak_resident_bytes),
                .stop = static_cast<double>(stop)});

    const scheduler::PlanLoad planned = scheduler::plan_load(step.plan, trainer_.planning().model, trainer_.planning().topology);
    metrics::StepRecord record = {.step = progress_.step,
                                  .total_steps = total_steps_,
                                  .tokens = progress_.consumed_tokens,
                                  .step_tokens = step.num_tokens(),
                                  .step_sequences = static_cast<std::int64_t>(step.sequences.size()),
                                  .num_ranks = world_.size(),
                                  .loss = result.loss,
                                  .grad_norm = result.grad_norm,
                                  .learning_rate = rate,
                                  .phases = {},
                                  .flops = scheduler::training_flops(trainer_.planning().model, step.plan.lengths),
                                  .peak_flops_per_second = gemm_rate_,
                                  .zone_fractions = {},
                                  .rank_work = {},
                                  .rank_busy_seconds = {},
                                  .rank_tokens = {},
                                  .rank_resident_bytes = {},
                                  .expert_load = result.expert_load,
                                  .skipped_nonfinite = progress_.skipped_steps,
                                  .checkpoint_step = last_durable_step_};
    record.zone_fractions = {planned.local_fraction, planned.node_fraction, planned.cluster_fraction};
    for (const scheduler::RankLoad& rank : planned.ranks) {
      record.rank_work.push_back(rank.seconds());
      record.rank_tokens.push_back(rank.tokens);
    }
    for (const RankReport& report : reports) {
      record.step_seconds = std::max(record.step_seconds, report.step_seconds);
      record.comm_seconds += report.comm_seconds / static_cast<double>(reports.size());
      record.rank_busy_seconds.push_back(report.step_seconds - report.comm_seconds);
      record.rank_resident_bytes.push_back(static_cast<std::int64_t>(report.resident_bytes));
      stop = std::max(stop, static_cast<StopRequest>(static_cast<int>(report.stop)));
    }
    for (std::size_t phase = 0; phase < metrics::kNumPhases; ++phase) {
      record.phases.push_back({name(static_cast<metrics::StepPhase>(phase)), phases[phase]});
    }
    note(record, planned);
    if (is_speaker()) log_->add(record);
    return stop;
  }

  /// What only one rank knows of a step.
  struct RankReport {
    double step_seconds, comm_seconds, resident_bytes, stop;
  };
  std::vector<RankReport> gather(const RankReport& own) {
    std::vector<RankReport> all(static_cast<std::size_t>(world_.size()));
    const std::vector<std::int64_t> counts(all.size(), 4);
    world_.all_gather({&own, 4, comm::Dtype::kFloat64}, {all.data(), 4 * world_.size(), comm::Dtype::kFloat64}, counts).wait();
    return all;
  }

  /// Keeps what the final report tells.
  void note(const metrics::StepRecord& record, const scheduler::PlanLoad& planned) {
    seconds_ += record.step_seconds;
    tokens_ += record.step_tokens;
    flops_ += record.flops;
    imbalance_sum_ += planned.imbalance;
    zone_tokens_.resize(record.zone_fractions.size());
    for (std::size_t zone = 0; zone < zone_tokens_.size(); ++zone) {
      zone_tokens_[zone] += record.zone_fractions[zone] * static_cast<double>(record.step_tokens);
    }
    ++num_steps_;
    losses_.push_back(record.loss);
    expert_load_ = record.expert_load;
    for (const metrics::ExpertLoad& load : record.expert_load) {
      progress_.worst_load_above_minimum = std::max(progress_.worst_load_above_minimum, load.above_minimum);
      progress_.worst_load_max_over_mean = std::max(progress_.worst_load_max_over_mean, load.max_over_mean);
    }
    tokens_by_rank_.resize(planned.ranks.size());
    pieces_by_rank_.resize(planned.ranks.size());
    for (std::size_t rank = 0; rank < planned.ranks.size(); ++rank) {
      tokens_by_rank_[rank] += planned.ranks[rank].tokens;
      pieces_by_rank_[rank] += planned.ranks[rank].num_pieces;
    }
  }

  /// Returns: kDone, also when the save failed but may be tried again; kCheckpoint when it failed too often.
  ExitCode save() {
    if (last_durable_step_ == progress_.step) return ExitCode::kDone;
    try {
      const checkpoint::Saved saved = train::save(
          trainer_, progress_, {path_ / "checkpoints", config_.checkpoint().keep()},
          {.run_id = run_id_, .config_hash = input_.config_hash, .config_text = input_.config_text, .parent = parent_});
      for (const std::string& note : saved.notes) say("checkpoint {}: {}", saved.name, note);
      last_checkpoint_ = saved.name;
      last_durable_step_ = progress_.step;
      num_failed_saves_ = 0;
      if (is_speaker()) folder_->write_status({.reason = {}, .last_durable_step = last_durable_step_});
      return ExitCode::kDone;
    } catch (const checkpoint::SaveError& error) {
      ++num_failed_saves_;
      say("warning: step {} was not saved ({} of {} failures in a row): {}", progress_.step, num_failed_saves_,
          config_.checkpoint().max_failed_saves(), error.what());
      const bool is_at_the_end = progress_.consumed_tokens >= config_.train().total_tokens();
      return is_at_the_end || num_failed_saves_ >= config_.checkpoint().max_failed_saves() ? ExitCode::kCheckpoint
                                                                                           : ExitCode::kDone;
    }
  }

  data::PredictionScore evaluate() {
    if (held_out_.empty()) held_out_ = eval::held_out_sequences(trainer_.corpus().held_out, config_.eval().max_tokens());
    return eval::score_held_out(trainer_.transformer(), trainer_.mesh(), held_out_, *trainer_.corpus().tokenizer,
                                trainer_.planning());
  }

  void say_held_out(const data::PredictionScore& loss) {
    say("step={} held-out: {:.4f} nats per token, {:.4f} bits per byte ({} targets)", progress_.step, loss.nats_per_token(),
        loss.bits_per_byte(), loss.num_targets);
  }

  /// Evaluation, sample and report after the last step.
  void finish() {
    if (is_speaker()) log_->finish();
    measure_gemm_rate();
    const data::Corpus& corpus = trainer_.corpus();
    RunSummary summary;
    if (corpus.held_out.num_sequences() > 0) {
      const data::PredictionScore loss = evaluate();
      summary.heldout_targets = loss.num_targets;
      summary.heldout_nats_per_token = loss.nats_per_token();
      summary.heldout_bits_per_byte = loss.bits_per_byte();
    }
    summary.sample_prompt = config_.generate().prompt();
    summary.sample_text = generate::generate_text(trainer_.transformer(), trainer_.mesh(), *corpus.tokenizer,
                                                  summary.sample_prompt, generate::sampling_options(config_, *corpus.tokenizer));
    std::int64_t peak_memory = metrics::host_memory().peak_resident_bytes;
    world_.all_reduce({&peak_memory, 1, comm::Dtype::kInt64}, comm::ReduceOp::kMax).wait();
    if (!is_speaker()) return;

    if (!held_out_.empty()) {
      const data::BigramBaseline baseline(corpus.train, corpus.tokenizer);
      data::PredictionScore score;
      for (const data::Sequence& sequence : held_out_) score += baseline.score(sequence);
      summary.bigram_bits_per_byte = score.bits_per_byte();
    }
    summary.model = config_.model().name();
    summary.num_parameters = scheduler::num_parameters(trainer_.planning().model).total();
    summary.num_ranks = world_.size();
    summary.ep = trainer_.mesh().ep().size();
    summary.policy = config_.scheduler().policy();
    summary.router = config_.model().router().name();
    summary.steps = progress_.step;
    summary.tokens = progress_.consumed_tokens;
    summary.seconds = seconds_;
    summary.tokens_per_second = static_cast<double>(tokens_) / seconds_;
    summary.gemm_flops_per_second = gemm_rate_;
    summary.mfu = metrics::model_flops_utilization(flops_, seconds_, gemm_rate_).value_or(0);
    const std::size_t num_last = std::min<std::size_t>(losses_.size(), 20);
    for (std::size_t i = losses_.size() - num_last; i < losses_.size(); ++i)
      summary.last_loss += losses_[i] / static_cast<double>(num_last);
    summary.skipped_steps = progress_.skipped_steps;
    summary.expert_load_max_over_mean_worst = progress_.worst_load_max_over_mean;
    summary.expert_load_above_minimum_worst = progress_.worst_load_above_minimum;
    for (const metrics::ExpertLoad& load : expert_load_) summary.expert_loads.push_back(load.rows_E);
    summary.documents = corpus.train.num_documents() + corpus.held_out.num_documents();
    summary.empty_documents = corpus.documents->num_empty();
    summary.cut_documents = corpus.train.num_cut_documents();
    summary.heldout_documents = corpus.held_out.num_documents();
    summary.length_quantiles = corpus.train.length_quantiles(std::array{0.0, 0.1, 0.5, 0.9, 0.99, 1.0});
    summary.imbalance_mean = imbalance_sum_ / static_cast<double>(num_steps_);
    for (const double tokens : zone_tokens_) summary.zone_fractions.push_back(tokens / static_cast<double>(tokens_));
    summary.tokens_by_rank = tokens_by_rank_;
    summary.pieces_by_rank = pieces_by_rank_;
    summary.peak_memory_bytes = peak_memory;
    summary.checkpoint = (path_ / "checkpoints" / last_checkpoint_).string();
    summary.run_folder = path_.string();
    std::ofstream(path_ / "summary.json", std::ios::binary) << to_json(summary);
    say("{}", to_text(summary));
    say("next: {}", input_.next_command(path_.string()));
  }

  ExitCode end(ExitCode code, const std::string& reason) {
    if (is_speaker()) {
      const checkpoint::RunState state = code == ExitCode::kDone    ? checkpoint::RunState::kFinished
                                         : code == ExitCode::kAgain ? checkpoint::RunState::kStopped
                                                                    : checkpoint::RunState::kFailed;
      folder_->write_status({state, code, reason, last_durable_step_});
      if (!reason.empty()) say("{}", reason);
    }
    return code;
  }

  const RunInput& input_;
  const schema::RunConfig& config_;
  comm::Communicator& world_;
  std::ostream& console_;
  const Clock::time_point begin_ = Clock::now();
  Trainer trainer_;
  std::optional<checkpoint::RunFolder> folder_;  // rank 0
  std::optional<metrics::MetricsLog> log_;       // rank 0
  std::filesystem::path path_;
  std::string run_id_, parent_, last_checkpoint_;
  std::int64_t total_steps_ = 0;
  Progress progress_;
  std::int64_t last_durable_step_ = -1;
  int num_failed_saves_ = 0;
  int num_not_finite_in_a_row_ = 0;
  double gemm_rate_ = 0;         // of all ranks together
  std::future<Step> next_step_;  // uses trainer_, so it ends first
  std::vector<data::Sequence> held_out_;
  // Of this process's steps, for the report.
  double seconds_ = 0, flops_ = 0, imbalance_sum_ = 0;
  std::int64_t tokens_ = 0, num_steps_ = 0;
  std::vector<double> losses_, zone_tokens_;
  std::vector<metrics::ExpertLoad> expert_load_;
  std::vector<std::int64_t> tokens_by_rank_, pieces_by_rank_;
};

}  // namespace

ExitCode train(const RunInput& input, comm::Communicator& world, bool is_resumed, std::ostream& console) {
  return Run(input, world, is_resumed, console).execute();
}

}  // namespace ballast::train
