#include "kernels/rms_norm/rms_norm_cpu.h"

#include <algorithm>
#include <cmath>

#include "kernels/simd.h"

namespace ballast::kernels {
namespace {

template <typename Scalar>
[[gnu::always_inline]] inline void forward(const Scalar* x, const Scalar* weight, Scalar eps, std::int64_t num_rows,
                                           std::int64_t size, Scalar* y, Scalar* rstd) {
  for (std::int64_t row = 0; row < num_rows; ++row, x += size, y += size) {
    Scalar sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = 0; i < size; ++i) {
      sum += x[i] * x[i];
    }
    const Scalar scale = 1 / std::sqrt(sum / static_cast<Scalar>(size) + eps);
    rstd[row] = scale;
#pragma omp simd
    for (std::int64_t i = 0; i < size; ++i) {
      y[i] = x[i] * scale * weight[i];
    }
  }
}

template <typename Scalar>
[[gnu::always_inline]] inline void backward(const Scalar* dy, const Scalar* x, const Scalar* weight, const Scalar* rstd,
                                            std::int64_t num_rows, std::int64_t size, Scalar* dx, Scalar* dweight) {
  std::fill(dweight, dweight + size, Scalar{0});
  for (std::int64_t row = 0; row < num_rows; ++row, dy += size, x += size, dx += size) {
    Scalar dot = 0;
#pragma omp simd reduction(+ : dot)
    for (std::int64_t i = 0; i < size; ++i) {
      dot += dy[i] * weight[i] * x[i];
    }
    const Scalar scale = rstd[row];
    const Scalar pull = scale * scale * scale * dot / static_cast<Scalar>(size);
#pragma omp simd
    for (std::int64_t i = 0; i < size; ++i) {
      dweight[i] += dy[i] * x[i] * scale;
      dx[i] = scale * dy[i] * weight[i] - x[i] * pull;
    }
  }
}

}  // namespace

BALLAST_SIMD_CLONES void rms_norm_rows(const float* x, const float* weight, float eps, std::int64_t num_rows, std::int64_t size,
                                       float* y, float* rstd) {
  forward(x, weight, eps, num_rows, size, y, rstd);
}

BALLAST_SIMD_CLONES void rms_norm_rows(const double* x, const double* weight, double eps, std::int64_t num_rows,
                                       std::int64_t size, double* y, double* rstd) {
  forward(x, weight, eps, num_rows, size, y, rstd);
}

BALLAST_SIMD_CLONES void rms_norm_backward_rows(const float* dy, const float* x, const float* weight, const float* rstd,
                                                std::int64_t num_rows, std::int64_t size, float* dx, float* dweight) {
  backward(dy, x, weight, rstd, num_rows, size, dx, dweight);
}

BALLAST_SIMD_CLONES void rms_norm_backward_rows(const double* dy, const double* x, const double* weight, const double* rstd,
                                                std::int64_t num_rows, std::int64_t size, double* dx, double* dweight) {
  backward(dy, x, weight, rstd, num_rows, size, dx, dweight);
}

}  // namespace ballast::kernels
