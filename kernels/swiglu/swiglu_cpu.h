#pragma once
// Row loops of swiglu over raw memory; a row of gate_up is `size` gates, then `size` ups.
#include <cstdint>

namespace ballast::kernels {

void swiglu_rows(const float* gate_up, std::int64_t num_rows, std::int64_t size, float* y);
void swiglu_rows(const double* gate_up, std::int64_t num_rows, std::int64_t size, double* y);

void swiglu_backward_rows(const float* dy, const float* gate_up, std::int64_t num_rows, std::int64_t size, float* dgate_up);
void swiglu_backward_rows(const double* dy, const double* gate_up, std::int64_t num_rows, std::int64_t size, double* dgate_up);

}  // namespace ballast::kernels
