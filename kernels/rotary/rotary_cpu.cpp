#include "kernels/rotary/rotary_cpu.h"

#include "kernels/simd.h"

namespace ballast::kernels {
namespace {

template <typename Scalar>
[[gnu::always_inline]] inline void rotate(const Scalar* x, const double* cos, const double* sin, std::int64_t num_heads,
                                          std::int64_t half, Scalar* y) {
  for (std::int64_t head = 0; head < num_heads; ++head, x += 2 * half, y += 2 * half) {
#pragma omp simd
    for (std::int64_t i = 0; i < half; ++i) {
      const Scalar c = static_cast<Scalar>(cos[i]);
      const Scalar s = static_cast<Scalar>(sin[i]);
      y[i] = x[i] * c - x[i + half] * s;
      y[i + half] = x[i + half] * c + x[i] * s;
    }
  }
}

}  // namespace

BALLAST_SIMD_CLONES void rotate_on(const double* step_cos, const double* step_sin, std::int64_t half, double* cos, double* sin) {
#pragma omp simd
  for (std::int64_t i = 0; i < half; ++i) {
    const double c = cos[i];
    const double s = sin[i];
    cos[i] = c * step_cos[i] - s * step_sin[i];
    sin[i] = s * step_cos[i] + c * step_sin[i];
  }
}

BALLAST_SIMD_CLONES void rotary_heads(const float* x, const double* cos, const double* sin, std::int64_t num_heads,
                                      std::int64_t half, float* y) {
  rotate(x, cos, sin, num_heads, half, y);
}

BALLAST_SIMD_CLONES void rotary_heads(const double* x, const double* cos, const double* sin, std::int64_t num_heads,
                                      std::int64_t half, double* y) {
  rotate(x, cos, sin, num_heads, half, y);
}

}  // namespace ballast::kernels
