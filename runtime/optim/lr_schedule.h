#pragma once
#include <cstdint>

namespace ballast::optim {

/// Plain form of the schema's LrSchedule and learning_rate.
struct LrSchedule {
  double peak = 3e-3;
  std::int64_t warmup_steps = 20;
  double final_fraction = 0.1;  ///< learning rate of the last step, as a share of the peak
};

/// Learning rate of step `step` (from 0) of `total_steps`: rises linearly over warmup_steps, reaches the peak in the step after
/// them, then follows a half cosine down to final_fraction of it in the last step and stays there. Throws: std::invalid_argument
/// when step, total_steps or the schedule are out of range.
double learning_rate(const LrSchedule& schedule, std::int64_t step, std::int64_t total_steps);

}  // namespace ballast::optim
