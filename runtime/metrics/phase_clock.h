#pragma once
// Where the time of a step goes. One clock per rank, used from one thread.
#include <array>
#include <chrono>
#include <cstddef>

namespace ballast::metrics {

enum class StepPhase { kOther, kAttention, kFeedForward, kExperts, kHead, kOptimizer, kCommunication };
inline constexpr std::size_t kNumPhases = 7;
/// "attention", "experts", ...
const char* name(StepPhase phase);

/// Adds up wall time by phase. Phases nest; time belongs to the innermost one.
class PhaseClock {
 public:
  using Seconds = std::array<double, kNumPhases>;

  /// Time until the end of the scope belongs to `phase`.
  class Scope {
   public:
    Scope(PhaseClock& clock, StepPhase phase) : clock_(clock), outer_(clock.switch_to(phase)) {}
    ~Scope() { clock_.switch_to(outer_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    PhaseClock& clock_;
    StepPhase outer_;
  };

  /// Seconds by phase since construction or the last call.
  Seconds take();

 private:
  using Clock = std::chrono::steady_clock;
  StepPhase switch_to(StepPhase phase);

  Seconds seconds_{};
  StepPhase current_ = StepPhase::kOther;
  Clock::time_point since_ = Clock::now();
};

}  // namespace ballast::metrics
