#include "runtime/train/step_benchmark.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "scheduler/cost/flops.h"

namespace ballast::train {
StepBenchmark benchmark_steps(Trainer& trainer, int num_warm_up, int num_steps) {
  using Clock = std::chrono::steady_clock;
  constexpr double kSecondsPerGemmShape = 0.3;
  StepBenchmark result;
  result.num_steps = num_steps;
  result.num_threads_per_rank = at::get_num_threads();
  std::int64_t position = 0;
  std::vector<double> seconds;
  double flops = 0;
  for (int step = 0; step < num_warm_up + num_steps; ++step) {
    if (step == num_warm_up) {
      result.gemm_rate_before = trainer.measure_gemm_rate(kSecondsPerGemmShape);
      trainer.world().barrier();
      trainer.clock().take();
    }
    const Clock::time_point begin = Clock::now();
    const Step planned = trainer.plan_step(step, position);
    trainer.run(planned, optim::learning_rate(trainer.lr_schedule(), step, num_warm_up + num_steps));
    position += static_cast<std::int64_t>(planned.sequences.size());
    if (step < num_warm_up) continue;
    seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
    flops += scheduler::training_flops(trainer.planning().model, planned.plan.lengths);
    result.tokens += planned.num_tokens();
  }
  result.phase_fraction = trainer.clock().take();
  const double all_phases = std::accumulate(result.phase_fraction.begin(), result.phase_fraction.end(), 0.0);
  for (double& fraction : result.phase_fraction) fraction /= all_phases;
  result.gemm_rate_after = trainer.measure_gemm_rate(kSecondsPerGemmShape);

  trainer.world()
      .all_reduce({seconds.data(), static_cast<std::int64_t>(seconds.size()), comm::Dtype::kFloat64}, comm::ReduceOp::kMax)
      .wait();
  const double total = std::accumulate(seconds.begin(), seconds.end(), 0.0);
  std::ranges::nth_element(seconds, seconds.begin() + num_steps / 2);
  result.step_seconds_median = seconds[static_cast<std::size_t>(num_steps / 2)];
  result.tokens_per_second = static_cast<double>(result.tokens) / total;
  result.flops_per_second = flops / total;
  const double rate = std::max(result.gemm_rate_before, result.gemm_rate_after);
  result.mfu = result.flops_per_second / rate;
  result.is_noisy = std::abs(result.gemm_rate_before - result.gemm_rate_after) > 0.1 * rate;
  return result;
}

}  // namespace ballast::train
