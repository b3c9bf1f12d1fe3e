#include "runtime/metrics/phase_clock.h"

#include <ctime>

namespace ballast::metrics {

const char* name(StepPhase phase) {
  switch (phase) {
    case StepPhase::kOther:
      return "other";
    case StepPhase::kAttention:
      return "attention";
    case StepPhase::kFeedForward:
      return "feed_forward";
    case StepPhase::kExperts:
      return "experts";
    case StepPhase::kHead:
      return "head";
    case StepPhase::kOptimizer:
      return "optimizer";
    case StepPhase::kCommunication:
      return "communication";
  }
  return "unknown";
}

double process_seconds() {
  std::timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

StepPhase PhaseClock::switch_to(StepPhase phase) {
  const Clock::time_point now = Clock::now();
  const double processor_now = process_seconds();
  const auto index = static_cast<std::size_t>(current_);
  times_.wall[index] += std::chrono::duration<double>(now - since_).count();
  times_.processor[index] += processor_now - processor_since_;
  since_ = now;
  processor_since_ = processor_now;
  const StepPhase outer = current_;
  current_ = phase;
  return outer;
}

PhaseClock::Times PhaseClock::take_times() {
  switch_to(current_);
  const Times taken = times_;
  times_ = {};
  return taken;
}

}  // namespace ballast::metrics
