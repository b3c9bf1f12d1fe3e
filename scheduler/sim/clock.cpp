#include "scheduler/sim/clock.h"

#include <fmt/format.h>

#include <stdexcept>

namespace ballast::scheduler {

namespace {
constexpr double kMostSeconds = 4e6;
}

Ticks to_ticks(double seconds) {
  if (!(seconds >= 0 && seconds <= kMostSeconds)) {
    throw std::invalid_argument(fmt::format(
        "simulation: an operation of {} seconds; the simulated clock takes 0 to {}. Raise the rates of the cluster, or "
        "make the step smaller",
        seconds, kMostSeconds));
  }
  return static_cast<Ticks>(seconds * kTicksPerSecond + 0.5);
}

}  // namespace ballast::scheduler
