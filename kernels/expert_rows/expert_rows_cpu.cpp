#include "kernels/expert_rows/expert_rows_cpu.h"

#include <algorithm>

#include "kernels/simd.h"

namespace ballast::kernels {
namespace {

template <typename Scalar>
[[gnu::always_inline]] inline void sum(const Scalar* y, const std::int64_t* rows, std::int64_t num_rows, const Scalar* weight,
                                       std::int64_t size, bool is_added, Scalar* out) {
  if (!is_added) {
    std::fill(out, out + size, Scalar{0});
  }
  for (std::int64_t j = 0; j < num_rows; ++j) {
    const Scalar scale = weight == nullptr ? Scalar{1} : weight[rows[j]];
    const Scalar* row = y + rows[j] * size;
#pragma omp simd
    for (std::int64_t i = 0; i < size; ++i) {
      out[i] += scale * row[i];
    }
  }
}

template <typename Scalar>
[[gnu::always_inline]] inline Scalar backward(const Scalar* dout, const Scalar* y, Scalar weight, std::int64_t size, Scalar* dy) {
  Scalar dot = 0;
#pragma omp simd reduction(+ : dot)
  for (std::int64_t i = 0; i < size; ++i) {
    dot += dout[i] * y[i];
    dy[i] = weight * dout[i];
  }
  return dot;
}

}  // namespace

BALLAST_SIMD_CLONES void sum_rows(const float* y, const std::int64_t* rows, std::int64_t num_rows, const float* weight,
                                  std::int64_t size, bool is_added, float* out) {
  sum(y, rows, num_rows, weight, size, is_added, out);
}

BALLAST_SIMD_CLONES void sum_rows(const double* y, const std::int64_t* rows, std::int64_t num_rows, const double* weight,
                                  std::int64_t size, bool is_added, double* out) {
  sum(y, rows, num_rows, weight, size, is_added, out);
}

BALLAST_SIMD_CLONES float combine_row_backward(const float* dout, const float* y, float weight, std::int64_t size, float* dy) {
  return backward(dout, y, weight, size, dy);
}

BALLAST_SIMD_CLONES double combine_row_backward(const double* dout, const double* y, double weight, std::int64_t size,
                                                double* dy) {
  return backward(dout, y, weight, size, dy);
}

}  // namespace ballast::kernels
