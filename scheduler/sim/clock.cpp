#include "scheduler/sim/clock.h"

#include <fmt/format.h>

#include <stdexcept>

namespace ballast::scheduler {

void refuse_seconds(double seconds) {
  throw std::invalid_argument(
      fmt::format("simulation: an operation of {} seconds; the simulated clock takes 0 to {}. Raise the rates of the cluster, or "
                  "make the step smaller",
                  seconds, kMostSeconds));
}

}  // namespace ballast::scheduler
