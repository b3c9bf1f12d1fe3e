#pragma once
// Row loops of cross-entropy over raw logits; `size` logits a row.
#include <cstdint>

namespace ballast::kernels {

void cross_entropy_rows(const float* logits, const std::int64_t* target, std::int64_t num_rows, std::int64_t size, float* loss);
void cross_entropy_rows(const double* logits, const std::int64_t* target, std::int64_t num_rows, std::int64_t size, double* loss);

/// Also turns the logits into scale * (softmax - onehot(target)) where they stand.
void cross_entropy_gradient_rows(float* logits, const std::int64_t* target, std::int64_t num_rows, std::int64_t size, float scale,
                                 float* loss);
void cross_entropy_gradient_rows(double* logits, const std::int64_t* target, std::int64_t num_rows, std::int64_t size,
                                 double scale, double* loss);

}  // namespace ballast::kernels
