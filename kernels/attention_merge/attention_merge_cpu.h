#pragma once
// Row loop of attention_merge over raw memory: a row is one head of one query, `size` elements.
#include <cstdint>

namespace ballast::kernels {

void attention_merge_rows(float* o, float* lse, const float* part_o, const float* part_lse, std::int64_t num_rows,
                          std::int64_t size);
void attention_merge_rows(double* o, double* lse, const double* part_o, const double* part_lse, std::int64_t num_rows,
                          std::int64_t size);

}  // namespace ballast::kernels
