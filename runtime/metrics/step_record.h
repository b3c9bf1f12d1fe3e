#pragma once
// What one training step tells about itself, as measured; rank 0 holds it for the whole world.
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/metrics/expert_load.h"

namespace ballast::metrics {

struct Phase {
  std::string name;  ///< forward, backward, optimizer, ...
  double seconds = 0;
  bool operator==(const Phase&) const = default;
};

/// Lists by rank may stay empty: what is unknown is left out of the line and null in the file.
struct StepRecord {
  std::int64_t step = 0;         ///< finished steps since the start of training, this one included
  std::int64_t total_steps = 0;  ///< expected at the end; 0 = unknown
  std::int64_t tokens = 0;       ///< consumed tokens since the start of training, not of this process
  std::int64_t step_tokens = 0;  ///< real target tokens of this step
  std::int64_t step_sequences = 0;

  std::int64_t num_ranks = 1;

  double loss = 0;           ///< nats per target token, mean over the step
  double grad_norm = 0;      ///< global norm before clipping
  double learning_rate = 0;  ///< of the first group

  double step_seconds = 0;           ///< wall time, without evaluation and saves
  double data_seconds = 0;           ///< waiting for input
  double comm_seconds = 0;           ///< communication not hidden by compute, mean over ranks
  std::vector<Phase> phases;         ///< the same names in the same order in every step
  double planned_pause_seconds = 0;  ///< evaluations and saves that are still to come

  double flops = 0;                  ///< of the step's real tokens, all ranks, formula ballast-1
  double peak_flops_per_second = 0;  ///< sum over the ranks; on CPU their GEMM rate measured in this run; 0 = unknown

  /// Tokens whose attention stays on one rank, inside a node, or crosses nodes; fractions of the step's, in this order.
  std::vector<double> zone_fractions;
  std::vector<double> rank_work;                  ///< planned work of each rank, any unit
  std::vector<double> rank_busy_seconds;          ///< measured compute time of each rank
  std::vector<std::int64_t> rank_tokens;          ///< tokens that each rank held
  std::vector<std::int64_t> rank_resident_bytes;  ///< host memory of each rank

  std::vector<ExpertLoad> expert_load;  ///< by MoE layer; empty: a dense model
  std::int64_t dropped_rows = 0;        ///< routed rows that no expert took

  std::int64_t skipped_nonfinite = 0;  ///< steps skipped so far, by cause
  std::int64_t skipped_spikes = 0;
  std::int64_t checkpoint_step = -1;  ///< newest durable checkpoint; -1 = none yet
};

}  // namespace ballast::metrics
