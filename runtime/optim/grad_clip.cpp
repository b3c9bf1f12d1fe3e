#include "runtime/optim/grad_clip.h"

#include <ATen/Dispatch.h>
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <stdexcept>

namespace ballast::optim {

double sum_of_squares(const at::Tensor& values) {
  TORCH_CHECK(values.is_contiguous() && values.is_cpu(), "sum_of_squares: values must be contiguous and on the CPU");
  // Independent partial sums let the compiler use vector registers without reordering additions.
  constexpr std::int64_t kLanes = 16;
  std::array<double, kLanes> lane{};
  AT_DISPATCH_FLOATING_TYPES(values.scalar_type(), "sum_of_squares", [&] {
    const scalar_t* value = values.const_data_ptr<scalar_t>();
    const std::int64_t size = values.numel();
    const std::int64_t whole = size - size % kLanes;
    for (std::int64_t begin = 0; begin < whole; begin += kLanes) {
      for (std::int64_t l = 0; l < kLanes; ++l) {
        const double v = value[begin + l];
        lane[l] += v * v;
      }
    }
    for (std::int64_t i = whole; i < size; ++i) lane[i - whole] += static_cast<double>(value[i]) * static_cast<double>(value[i]);
  });
  double sum = 0;
  for (const double partial : lane) sum += partial;
  return sum;
}

double clip_factor(double norm, double clip_norm) {
  if (!std::isfinite(norm)) {
    throw std::runtime_error(
        fmt::format("the global gradient norm is {}: the model has diverged; lower optim.learning_rate or resume "
                    "from an earlier checkpoint",
                    norm));
  }
  return clip_norm > 0.0 && norm > clip_norm ? clip_norm / norm : 1.0;
}

}  // namespace ballast::optim
