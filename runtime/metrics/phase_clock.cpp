#include "runtime/metrics/phase_clock.h"

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

StepPhase PhaseClock::switch_to(StepPhase phase) {
  const Clock::time_point now = Clock::now();
  seconds_[static_cast<std::size_t>(current_)] += std::chrono::duration<double>(now - since_).count();
  since_ = now;
  const StepPhase outer = current_;
  current_ = phase;
  return outer;
}

PhaseClock::Seconds PhaseClock::take() {
  switch_to(current_);
  const Seconds taken = seconds_;
  seconds_ = {};
  return taken;
}

}  // namespace ballast::metrics
