#pragma once
// Row loops of rms_norm over raw memory; rows are contiguous, `size` elements each.
#include <cstdint>

namespace ballast::kernels {

void rms_norm_rows(const float* x, const float* weight, float eps, std::int64_t num_rows, std::int64_t size, float* y,
                   float* rstd);
void rms_norm_rows(const double* x, const double* weight, double eps, std::int64_t num_rows, std::int64_t size, double* y,
                   double* rstd);

/// dweight is overwritten with the sum over these rows.
void rms_norm_backward_rows(const float* dy, const float* x, const float* weight, const float* rstd, std::int64_t num_rows,
                            std::int64_t size, float* dx, float* dweight);
void rms_norm_backward_rows(const double* dy, const double* x, const double* weight, const double* rstd, std::int64_t num_rows,
                            std::int64_t size, double* dx, double* dweight);

}  // namespace ballast::kernels
