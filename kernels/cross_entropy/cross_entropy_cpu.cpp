#include "kernels/cross_entropy/cross_entropy_cpu.h"

#include <algorithm>
#include <cmath>

#include "kernels/simd.h"

namespace ballast::kernels {
namespace {

template <typename Scalar>
[[gnu::always_inline]] inline Scalar largest(const Scalar* logits, std::int64_t size) {
  Scalar top = logits[0];
#pragma omp simd reduction(max : top)
  for (std::int64_t i = 1; i < size; ++i) {
    top = logits[i] > top ? logits[i] : top;
  }
  return top;
}

template <typename Scalar>
[[gnu::always_inline]] inline void losses(const Scalar* logits, const std::int64_t* target, std::int64_t num_rows,
                                          std::int64_t size, Scalar* loss) {
  for (std::int64_t row = 0; row < num_rows; ++row, logits += size) {
    const Scalar top = largest(logits, size);
    Scalar sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = 0; i < size; ++i) {
      sum += simd_exp(logits[i] - top);
    }
    loss[row] = std::log(sum) + top - logits[target[row]];
  }
}

template <typename Scalar>
[[gnu::always_inline]] inline void gradients(Scalar* logits, const std::int64_t* target, std::int64_t num_rows, std::int64_t size,
                                             Scalar scale, Scalar* loss) {
  for (std::int64_t row = 0; row < num_rows; ++row, logits += size) {
    const Scalar top = largest(logits, size);
    const Scalar wanted = logits[target[row]];
    Scalar sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = 0; i < size; ++i) {
      logits[i] = simd_exp(logits[i] - top);
      sum += logits[i];
    }
    loss[row] = std::log(sum) + top - wanted;
    const Scalar share = scale / sum;
#pragma omp simd
    for (std::int64_t i = 0; i < size; ++i) {
      logits[i] *= share;
    }
    logits[target[row]] -= scale;
  }
}

}  // namespace

BALLAST_SIMD_CLONES void cross_entropy_rows(const float* logits, const std::int64_t* target, std::int64_t num_rows,
                                            std::int64_t size, float* loss) {
  losses(logits, target, num_rows, size, loss);
}

BALLAST_SIMD_CLONES void cross_entropy_rows(const double* logits, const std::int64_t* target, std::int64_t num_rows,
                                            std::int64_t size, double* loss) {
  losses(logits, target, num_rows, size, loss);
}

BALLAST_SIMD_CLONES void cross_entropy_gradient_rows(float* logits, const std::int64_t* target, std::int64_t num_rows,
                                                     std::int64_t size, float scale, float* loss) {
  gradients(logits, target, num_rows, size, scale, loss);
}

BALLAST_SIMD_CLONES void cross_entropy_gradient_rows(double* logits, const std::int64_t* target, std::int64_t num_rows,
                                                     std::int64_t size, double scale, double* loss) {
  gradients(logits, target, num_rows, size, scale, loss);
}

}  // namespace ballast::kernels
