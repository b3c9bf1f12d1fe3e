#pragma once
// How close simulated steps come to real ones.
#include <functional>
#include <optional>
#include <vector>

#include "runtime/train/calibrate.h"
#include "runtime/train/timed_step.h"

namespace ballast::train {

struct PredictedBatch {
  std::int64_t num_sequences = 0;
  std::int64_t num_tokens = 0;
  std::int64_t longest_tokens = 0;
  double predicted_seconds = 0;
  double measured_seconds = 0;  ///< median of some steps, each of its slowest rank
  double gemm_rate = 0;         ///< the one, of those before and after, that is farther from the calibration's
  bool is_kept = true;          ///< false: the GEMM rate was more than 10 % off that of the calibration
  double relative_error() const { return predicted_seconds / measured_seconds - 1; }
};

struct PredictionBenchmark {
  std::vector<PredictedBatch> batches;
  std::optional<double> median_relative_error;  ///< of its size, over the batches that are kept; nothing: none is
  int num_kept() const;
};

/// Plans, simulates and trains `num_batches` batches on the calibrated cluster, with the run's policy. Collective. Nothing is
/// saved. Input: `batch(i)` is the same on every rank.
PredictionBenchmark benchmark_prediction(Trainer& trainer, const Calibration& calibration, int num_batches,
                                         const std::function<std::vector<data::Sequence>(int)>& batch);

}  // namespace ballast::train
