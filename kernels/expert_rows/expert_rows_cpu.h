#pragma once
// Row loops of expert_rows over raw memory; `size` elements a row.
#include <cstdint>

namespace ballast::kernels {

/// out[i] (+)= sum over j of weight[rows[j]] * y[rows[j]]; weight null means 1, is_added keeps what out holds.
void sum_rows(const float* y, const std::int64_t* rows, std::int64_t num_rows, const float* weight, std::int64_t size,
              bool is_added, float* out);
void sum_rows(const double* y, const std::int64_t* rows, std::int64_t num_rows, const double* weight, std::int64_t size,
              bool is_added, double* out);

/// dy = weight * dout; returns dot(dout, y).
float combine_row_backward(const float* dout, const float* y, float weight, std::int64_t size, float* dy);
double combine_row_backward(const double* dout, const double* y, double weight, std::int64_t size, double* dy);

}  // namespace ballast::kernels
