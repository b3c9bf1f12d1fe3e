#include "kernels/rotary/rotary.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/rotary/rotary_cpu.h"
#include "kernels/tensor_check.h"

namespace ballast::kernels {
namespace {

/// cos and sin of every frequency at one position. At multiples of kAnchor they come from the library; between, from rotating on
/// by one position at a time (at most kAnchor - 1 roundings of a double), so that they are a function of the position alone.
class Angles {
 public:
  Angles(std::int64_t half, double theta)
      : half_(half), frequency_(half), step_cos_(half), step_sin_(half), cos_(half), sin_(half) {
    for (std::int64_t i = 0; i < half; ++i) {
      frequency_[i] = std::pow(theta, -static_cast<double>(i) / static_cast<double>(half));
      step_cos_[i] = std::cos(frequency_[i]);
      step_sin_[i] = std::sin(frequency_[i]);
    }
  }

  void move_to(std::int64_t position) {
    const std::int64_t anchor = position / kAnchor * kAnchor;
    if (position_ < anchor || position_ > position) {
      for (std::int64_t i = 0; i < half_; ++i) {
        cos_[i] = std::cos(static_cast<double>(anchor) * frequency_[i]);
        sin_[i] = std::sin(static_cast<double>(anchor) * frequency_[i]);
      }
      position_ = anchor;
    }
    for (; position_ < position; ++position_) {
      rotate_on(step_cos_.data(), step_sin_.data(), half_, cos_.data(), sin_.data());
    }
  }

  const double* cos() const { return cos_.data(); }
  const double* sin() const { return sin_.data(); }

 private:
  static constexpr std::int64_t kAnchor = 64;
  std::int64_t half_;
  std::int64_t position_ = std::numeric_limits<std::int64_t>::max();
  std::vector<double> frequency_, step_cos_, step_sin_, cos_, sin_;
};

at::Tensor rotate_all(const char* op, const at::Tensor& x_TNH, const at::Tensor& position_T, double theta, double direction) {
  check_floating(op, "x_TNH", x_TNH, {kAnySize, kAnySize, kAnySize});
  const std::int64_t num_tokens = x_TNH.size(0), num_heads = x_TNH.size(1), size = x_TNH.size(2);
  TORCH_CHECK(size % 2 == 0, op, ": head size H is ", size, ", wanted an even number");
  TORCH_CHECK(theta > 0, op, ": theta is ", theta, ", wanted above 0");
  check_index(op, "position_T", position_T, num_tokens);
  check_index_range(op, "position_T", position_T, std::numeric_limits<std::int64_t>::max());
  at::Tensor y_TNH = at::empty(x_TNH.sizes(), x_TNH.options());
  AT_DISPATCH_FLOATING_TYPES(x_TNH.scalar_type(), "rotary", [&] {
    const auto* x = x_TNH.const_data_ptr<scalar_t>();
    const auto* position = position_T.const_data_ptr<std::int64_t>();
    auto* y = y_TNH.mutable_data_ptr<scalar_t>();
    const std::int64_t token_size = num_heads * size;
    at::parallel_for(0, num_tokens, 128, [&](std::int64_t begin, std::int64_t end) {
      Angles angles(size / 2, theta);
      std::vector<double> turn(size / 2);
      for (std::int64_t token = begin; token < end; ++token) {
        angles.move_to(position[token]);
        for (std::int64_t i = 0; i < size / 2; ++i) {
          turn[i] = direction * angles.sin()[i];
        }
        rotary_heads(x + token * token_size, angles.cos(), turn.data(), num_heads, size / 2, y + token * token_size);
      }
    });
  });
  return y_TNH;
}

}  // namespace

at::Tensor rotary(const at::Tensor& x_TNH, const at::Tensor& position_T, double theta) {
  return rotate_all("rotary", x_TNH, position_T, theta, 1);
}

at::Tensor rotary_backward(const at::Tensor& dy_TNH, const at::Tensor& position_T, double theta) {
  return rotate_all("rotary_backward", dy_TNH, position_T, theta, -1);
}

}  // namespace ballast::kernels
