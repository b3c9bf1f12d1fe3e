#include "runtime/train/policy_benchmark.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "scheduler/cost/rank_load.h"
#include "scheduler/policy/registry.h"
#include "scheduler/sim/simulator.h"

namespace ballast::train {
namespace {

constexpr double kSecondsPerGemmShape = 0.1;
constexpr double kNoise = 0.1;

/// A policy that can place the batch, and its steps so far.
struct Runner {
  std::size_t row;
  Step step;
  std::vector<TimedStep> rounds;

  template <class Fn>
  double median_of(const Fn& value) const {
    std::vector<double> values;
    for (const TimedStep& round : rounds) values.push_back(value(round));
    return median(std::move(values));
  }
  /// Of `other` over this one.
  template <class Fn>
  double median_ratio(const Runner& other, const Fn& value) const {
    std::vector<double> ratios;
    for (std::size_t i = 0; i < rounds.size(); ++i) ratios.push_back(value(other.rounds[i]) / value(rounds[i]));
    return median(std::move(ratios));
  }
};

}  // namespace

PolicyBenchmark benchmark_policies(Trainer& trainer, comm::RecordingCommunicator* recorder,
                                   const std::vector<std::string>& policies, const std::vector<data::Sequence>& batch,
                                   int num_rounds, const OnBenchmarkStep& on_step) {
  using Clock = std::chrono::steady_clock;
  PolicyBenchmark result;
  result.cores = core_share(trainer.world());
  result.num_rounds = num_rounds;
  scheduler::PlanRequest request = trainer.planning();
  for (const data::Sequence& sequence : batch) request.lengths.push_back(sequence.length());
  for (const std::int64_t length : request.lengths) {
    ++result.num_sequences;
    result.num_tokens += length;
    result.longest_tokens = std::max(result.longest_tokens, length);
  }

  std::vector<Runner> runners;
  for (const std::string& policy : policies) {
    scheduler::find_policy(policy);
    PolicyTimes& row = result.policies.emplace_back();
    row.policy = policy;
    request.options.policy = policy;
    try {
      const Clock::time_point begin = Clock::now();
      scheduler::Plan plan = scheduler::make_plan(request);
      row.plan_seconds = std::chrono::duration<double>(Clock::now() - begin).count();
      row.imbalance_planned = scheduler::plan_load(plan, request.model, request.topology).imbalance;
      runners.push_back({result.policies.size() - 1, {batch, std::move(plan)}, {}});
    } catch (const std::invalid_argument& refusal) {
      row.refusal = refusal.what();
    }
  }

  // Round by round, so that a machine that others use too slows all policies alike. The first round warms up.
  const Step smallest = equal_step(trainer, 1, 1);
  std::vector<double> fixed;
  for (int round = -1; round < num_rounds; ++round) {
    if (round == 0) result.gemm_rate_before = trainer.measure_gemm_rate(kSecondsPerGemmShape);
    const TimedStep smallest_timed = run_timed(trainer, smallest, recorder);
    if (round >= 0) fixed.push_back(smallest_timed.seconds());
    for (Runner& runner : runners) {
      TimedStep timed = run_timed(trainer, runner.step, recorder);
      on_step(round, result.policies[runner.row].policy, timed.seconds());
      if (round >= 0) runner.rounds.push_back(std::move(timed));
    }
  }
  result.gemm_rate_after = trainer.measure_gemm_rate(kSecondsPerGemmShape);
  result.is_noisy = std::abs(result.gemm_rate_before - result.gemm_rate_after) >
                    kNoise * std::max(result.gemm_rate_before, result.gemm_rate_after);
  result.fixed_seconds = median(std::move(fixed));

  for (const Runner& runner : runners) {
    PolicyTimes& row = result.policies[runner.row];
    const TimedStep& first = runner.rounds.front();
    row.step_seconds_median = runner.median_of([](const TimedStep& t) { return t.seconds(); });
    row.predicted_seconds = predicted_seconds(runner.step.plan, request.model, request.topology, result.fixed_seconds);
    row.speedup = runner.median_ratio(runners.front(), [](const TimedStep& t) { return t.seconds(); });
    row.step_seconds_least = std::ranges::min(runner.rounds, {}, &TimedStep::seconds).seconds();
    row.imbalance_measured = runner.median_of([](const TimedStep& t) { return t.busy_imbalance(); });
    row.bytes_sent = first.bytes_sent();
    row.attention_bytes_sent = first.attention_bytes_sent();
    row.processor_seconds = runner.median_of([](const TimedStep& t) { return t.processor_seconds(); });
    row.busy_seconds = runner.median_of([](const TimedStep& t) { return t.busy_seconds(); });
    row.busy_speedup = runner.median_ratio(runners.front(), [](const TimedStep& t) { return t.busy_seconds(); });
    row.waiting_seconds = runner.median_of([](const TimedStep& t) { return t.waiting_seconds(); });
    row.loss = first.result.loss;
  }
  return result;
}

double predicted_seconds(const scheduler::Plan& plan, const scheduler::ModelShape& model, const scheduler::Topology& topology,
                         double fixed_seconds) {
  return scheduler::simulate(plan, model, topology).makespan_seconds + fixed_seconds;
}

}  // namespace ballast::train
