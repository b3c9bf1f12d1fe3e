#include "runtime/train/prediction_benchmark.h"

#include <algorithm>
#include <cmath>

#include "runtime/train/policy_benchmark.h"

namespace ballast::train {
namespace {

constexpr int kStepsPerBatch = 3;
constexpr double kSecondsPerGemmShape = 0.1;
constexpr double kNoise = 0.1;

}  // namespace

int PredictionBenchmark::num_kept() const {
  return static_cast<int>(std::ranges::count(batches, true, &PredictedBatch::is_kept));
}

PredictionBenchmark benchmark_prediction(Trainer& trainer, const Calibration& calibration, int num_batches,
                                         const std::function<std::vector<data::Sequence>(int)>& batch) {
  const double usual_rate = (calibration.gemm_rate_before + calibration.gemm_rate_after) / 2;
  const auto is_farther = [&](double rate, double other) { return std::abs(rate - usual_rate) > std::abs(other - usual_rate); };
  PredictionBenchmark result;
  std::vector<double> errors;
  double rate_before = calibration.gemm_rate_after;
  for (int i = 0; i < num_batches; ++i) {
    scheduler::PlanRequest request = trainer.planning();
    request.topology = calibration.topology;
    Step step;
    step.sequences = batch(i);
    PredictedBatch& row = result.batches.emplace_back();
    for (const data::Sequence& sequence : step.sequences) {
      request.lengths.push_back(sequence.length());
      ++row.num_sequences;
      row.num_tokens += sequence.length();
      row.longest_tokens = std::max(row.longest_tokens, sequence.length());
    }
    step.plan = scheduler::make_plan(request);
    row.predicted_seconds = predicted_seconds(step.plan, request.model, request.topology, calibration.work_fit.fixed_seconds);
    std::vector<double> seconds;
    for (int k = 0; k < kStepsPerBatch; ++k) seconds.push_back(run_timed(trainer, step, nullptr).seconds());
    row.measured_seconds = median(std::move(seconds));
    const double rate_after = trainer.measure_gemm_rate(kSecondsPerGemmShape);
    row.gemm_rate = is_farther(rate_before, rate_after) ? rate_before : rate_after;
    row.is_kept = std::abs(row.gemm_rate - usual_rate) <= kNoise * usual_rate;
    rate_before = rate_after;
    if (row.is_kept) errors.push_back(std::abs(row.relative_error()));
  }
  if (!errors.empty()) result.median_relative_error = median(std::move(errors));
  return result;
}

}  // namespace ballast::train
