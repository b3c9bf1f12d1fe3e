#include "kernels/swiglu/swiglu_cpu.h"

#include "kernels/simd.h"

namespace ballast::kernels {
namespace {

template <typename Scalar>
[[gnu::always_inline]] inline void forward(const Scalar* gate_up, std::int64_t num_rows, std::int64_t size, Scalar* y) {
  for (std::int64_t row = 0; row < num_rows; ++row, gate_up += 2 * size, y += size) {
#pragma omp simd
    for (std::int64_t i = 0; i < size; ++i) {
      y[i] = gate_up[i] / (1 + simd_exp(-gate_up[i])) * gate_up[size + i];
    }
  }
}

template <typename Scalar>
[[gnu::always_inline]] inline void backward(const Scalar* dy, const Scalar* gate_up, std::int64_t num_rows, std::int64_t size,
                                            Scalar* dgate_up) {
  for (std::int64_t row = 0; row < num_rows; ++row, dy += size, gate_up += 2 * size, dgate_up += 2 * size) {
#pragma omp simd
    for (std::int64_t i = 0; i < size; ++i) {
      const Scalar gate = gate_up[i];
      const Scalar sigmoid = 1 / (1 + simd_exp(-gate));
      dgate_up[i] = dy[i] * gate_up[size + i] * sigmoid * (1 + gate * (1 - sigmoid));
      dgate_up[size + i] = dy[i] * gate * sigmoid;
    }
  }
}

}  // namespace

BALLAST_SIMD_CLONES void swiglu_rows(const float* gate_up, std::int64_t num_rows, std::int64_t size, float* y) {
  forward(gate_up, num_rows, size, y);
}

BALLAST_SIMD_CLONES void swiglu_rows(const double* gate_up, std::int64_t num_rows, std::int64_t size, double* y) {
  forward(gate_up, num_rows, size, y);
}

BALLAST_SIMD_CLONES void swiglu_backward_rows(const float* dy, const float* gate_up, std::int64_t num_rows, std::int64_t size,
                                              float* dgate_up) {
  backward(dy, gate_up, num_rows, size, dgate_up);
}

BALLAST_SIMD_CLONES void swiglu_backward_rows(const double* dy, const double* gate_up, std::int64_t num_rows, std::int64_t size,
                                              double* dgate_up) {
  backward(dy, gate_up, num_rows, size, dgate_up);
}

}  // namespace ballast::kernels
