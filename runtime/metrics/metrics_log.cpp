#include "runtime/metrics/metrics_log.h"

#include <fmt/core.h>

#include <chrono>
#include <ostream>
#include <stdexcept>
#include <utility>

#include "scheduler/cost/flops.h"

namespace ballast::metrics {

void MetricsLog::add_sink(std::unique_ptr<Sink> sink, std::int64_t every_steps) {
  if (every_steps < 1) {
    throw std::invalid_argument(fmt::format("metrics sink {}: every_steps is {}, at least 1 wanted", sink->name(), every_steps));
  }
  outlets_.push_back({std::move(sink), every_steps, {}, false});
}

void MetricsLog::add(const StepRecord& step) {
  JudgedStep judged{step, losses_.z_score(step.loss), grad_norms_.z_score(step.grad_norm), std::nullopt};
  losses_.add(step.loss);
  grad_norms_.add(step.grad_norm);
  step_seconds_.add(step.step_seconds);
  if (step.total_steps >= step.step && step_seconds_.size() > 0) {
    judged.eta_seconds = static_cast<double>(step.total_steps - step.step) * step_seconds_.median() + step.planned_pause_seconds;
  }
  const bool is_first = !std::exchange(has_steps_, true);
  for (Outlet& outlet : outlets_) {
    outlet.pending.push_back(judged);
    if (is_first || step.step % outlet.every_steps == 0) write(outlet);
  }
}

void MetricsLog::finish() {
  for (Outlet& outlet : outlets_) {
    if (!outlet.pending.empty()) write(outlet);
  }
}

void MetricsLog::write(Outlet& outlet) {
  MetricsRecord record = summarize(outlet.pending);
  outlet.pending.clear();
  record.unix_seconds = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  if (record.mfu > 1.0) {
    if (!std::exchange(has_warned_of_peak_, true)) {
      warnings_ << fmt::format(
          "step {}: mfu would be {:.2f}: {:.4g} FLOP (formula {}, {} tokens) in {:.3f} s over a peak of {:.4g} FLOP/s; "
          "the "
          "peak is wrong, mfu is left out whenever it passes 1\n",
          record.step, *record.mfu, record.flops, scheduler::kFlopsFormula, record.interval_tokens, record.interval_seconds,
          record.peak_flops_per_second);
    }
    record.mfu.reset();
  }
  try {
    outlet.sink->write(record);
  } catch (const std::exception& error) {
    if (!std::exchange(outlet.has_warned, true)) {
      warnings_ << fmt::format("step {}: {} failed and training goes on without it: {}\n", record.step, outlet.sink->name(),
                               error.what());
      warnings_.flush();
    }
  }
}

}  // namespace ballast::metrics
