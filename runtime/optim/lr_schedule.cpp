#include "runtime/optim/lr_schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <stdexcept>

namespace ballast::optim {

double learning_rate(const LrSchedule& schedule, std::int64_t step, std::int64_t total_steps) {
  if (step < 0 || total_steps < 1) {
    throw std::invalid_argument(
        fmt::format("learning rate of step {} of {}: steps count from 0, and one is the least", step, total_steps));
  }
  if (!(schedule.peak >= 0.0) || schedule.warmup_steps < 0 ||
      !(schedule.final_fraction >= 0.0 && schedule.final_fraction <= 1.0)) {
    throw std::invalid_argument(
        fmt::format("optim: learning_rate {}, warmup_steps {}, final_fraction {}; the first two cannot be "
                    "negative, the last lies in 0..1",
                    schedule.peak, schedule.warmup_steps, schedule.final_fraction));
  }
  if (step < schedule.warmup_steps) {
    return schedule.peak * static_cast<double>(step + 1) / static_cast<double>(schedule.warmup_steps + 1);
  }
  const std::int64_t decay_steps = std::max<std::int64_t>(1, total_steps - 1 - schedule.warmup_steps);
  const double progress = std::min(1.0, static_cast<double>(step - schedule.warmup_steps) / static_cast<double>(decay_steps));
  const double cosine = 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
  return schedule.peak * (schedule.final_fraction + (1.0 - schedule.final_fraction) * cosine);
}

}  // namespace ballast::optim
