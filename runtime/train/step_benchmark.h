#pragma once
// How fast training steps are, and where their time goes.
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/metrics/phase_clock.h"
#include "runtime/train/trainer.h"

namespace ballast::train {

struct StepBenchmark {
  int num_steps = 0;  ///< measured, after the warm-up
  int num_threads_per_rank = 0;
  std::int64_t tokens = 0;         ///< of the measured steps
  double step_seconds_median = 0;  ///< of the slowest rank of each step
  double tokens_per_second = 0;
  double flops_per_second = 0;  ///< formula ballast-1, all ranks
  double gemm_rate_before = 0;  ///< of all ranks together, floating point operations per second
  double gemm_rate_after = 0;
  double mfu = 0;                                 ///< flops_per_second / the better GEMM rate
  metrics::PhaseClock::Seconds phase_fraction{};  ///< share of the time of rank 0
  bool is_noisy = false;                          ///< the GEMM rate moved by more than 10 %: do not quote
};

/// Runs the first steps of a run, `num_warm_up` and then `num_steps`, on all ranks. Nothing is saved.
StepBenchmark benchmark_steps(Trainer& trainer, int num_warm_up, int num_steps);

}  // namespace ballast::train
