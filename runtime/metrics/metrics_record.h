#pragma once
// The record that every sink gets: the steps since the record before, summed up.
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/metrics/step_record.h"

namespace ballast::metrics {

/// Sums, means and worst cases over `num_steps` steps that end with `step`. Units as in StepRecord.
struct MetricsRecord {
  double unix_seconds = 0;  ///< when the record was closed
  std::int64_t step = 0;
  std::int64_t total_steps = 0;
  std::int64_t num_steps = 0;
  std::int64_t tokens = 0;
  std::int64_t interval_tokens = 0;
  std::int64_t interval_sequences = 0;
  std::int64_t num_ranks = 1;

  double loss = 0;                    ///< mean over the target tokens of the interval
  std::optional<double> loss_z;       ///< of the step that lies farthest off, against the 128 finite steps before it
  double grad_norm = 0;               ///< mean over the steps
  std::optional<double> grad_norm_z;  ///< as loss_z
  double learning_rate = 0;           ///< of the last step

  double step_seconds_median = 0;
  double step_seconds_max = 0;
  double interval_seconds = 0;  ///< sum of the steps
  double data_seconds = 0;      ///< mean over the steps, as comm_seconds and phases
  double comm_seconds = 0;
  std::vector<Phase> phases;
  double tokens_per_second = 0;  ///< all ranks together
  double flops = 0;              ///< sum over the steps
  double peak_flops_per_second = 0;
  std::optional<double> mfu;

  /// Work as planned, compute time as measured: sum over the steps of the fullest rank's / sum of the means.
  std::optional<double> imbalance_planned, imbalance_measured;
  std::vector<double> zone_fractions;     ///< as in StepRecord, of all tokens of the interval; empty: unknown
  std::vector<double> rank_busy_seconds;  ///< sum over the steps
  std::vector<std::int64_t> rank_tokens;  ///< sum over the steps
  std::vector<std::int64_t> rank_resident_bytes;

  std::vector<ExpertLoad> expert_load;
  std::int64_t dropped_rows = 0;

  std::int64_t skipped_nonfinite = 0;
  std::int64_t skipped_spikes = 0;
  std::int64_t checkpoint_step = -1;
  std::optional<double> eta_seconds;

  bool operator==(const MetricsRecord&) const = default;
};

/// A step with what only the steps before it can tell.
struct JudgedStep {
  StepRecord step;
  std::optional<double> loss_z;
  std::optional<double> grad_norm_z;
  std::optional<double> eta_seconds;
};

/// Sums an interval up.
/// Input: consecutive steps, at least one. unix_seconds is left for the caller.
/// Throws: std::logic_error for an empty interval.
MetricsRecord summarize(std::span<const JudgedStep> steps);

}  // namespace ballast::metrics
