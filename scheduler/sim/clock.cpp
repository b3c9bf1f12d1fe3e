#include "scheduler/sim/clock.h"

#include <fmt/format.h>

#include <stdexcept>

namespace ballast::scheduler {

void refuse_operation(double seconds) {
  throw std::invalid_argument(
      fmt::format("simulation: an operation of {} seconds; the simulated clock takes 0 to {}. Raise the rates of the cluster, or "
                  "make the step smaller",
                  seconds, kMostSeconds));
}

void refuse_step(double seconds) {
  throw std::invalid_argument(
      fmt::format("simulation: the step takes {} seconds or more; the simulated clock ends after {}. Raise the rates of the "
                  "cluster, or make the step smaller: fewer tokens, shorter sequences or more ranks",
                  seconds, kMostSeconds));
}

}  // namespace ballast::scheduler
