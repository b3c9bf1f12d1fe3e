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

/// Processor time of all threads of this process so far.
double process_seconds();

/// Adds up wall and processor time by phase. Phases nest; time belongs to the innermost one.
class PhaseClock {
 public:
  using Seconds = std::array<double, kNumPhases>;

  /// Processor time is that of all threads of the process: what the rank did, however many others wanted its cores.
  struct Times {
    Seconds wall{};
    Seconds processor{};
  };

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

  StepPhase current() const { return current_; }
  /// Times by phase since construction or the last call.
  Times take_times();
  /// Of these the wall time.
  Seconds take() { return take_times().wall; }

 private:
  using Clock = std::chrono::steady_clock;
  StepPhase switch_to(StepPhase phase);

  Times times_{};
  StepPhase current_ = StepPhase::kOther;
  Clock::time_point since_ = Clock::now();
  double processor_since_ = process_seconds();
};

}  // namespace ballast::metrics
