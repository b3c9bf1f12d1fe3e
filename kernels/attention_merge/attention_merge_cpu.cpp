#include "kernels/attention_merge/attention_merge_cpu.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/simd.h"

namespace ballast::kernels {
namespace {

template <typename Scalar>
[[gnu::always_inline]] inline void merge(Scalar* o, Scalar* lse, const Scalar* part_o, const Scalar* part_lse,
                                         std::int64_t num_rows, std::int64_t size) {
  constexpr Scalar kNoKey = -std::numeric_limits<Scalar>::infinity();
  for (std::int64_t row = 0; row < num_rows; ++row, o += size, part_o += size) {
    if (part_lse[row] == kNoKey) {
      if (lse[row] == kNoKey) {
        std::fill(o, o + size, Scalar{0});
      }
      continue;
    }
    if (lse[row] == kNoKey) {
      std::copy(part_o, part_o + size, o);
      lse[row] = part_lse[row];
      continue;
    }
    const Scalar top = std::max(lse[row], part_lse[row]);
    const Scalar weight = std::exp(lse[row] - top), part_weight = std::exp(part_lse[row] - top);
    const Scalar total = weight + part_weight;
    const Scalar share = weight / total, part_share = part_weight / total;
#pragma omp simd
    for (std::int64_t i = 0; i < size; ++i) {
      o[i] = share * o[i] + part_share * part_o[i];
    }
    lse[row] = top + std::log(total);
  }
}

}  // namespace

BALLAST_SIMD_CLONES void attention_merge_rows(float* o, float* lse, const float* part_o, const float* part_lse,
                                              std::int64_t num_rows, std::int64_t size) {
  merge(o, lse, part_o, part_lse, num_rows, size);
}

BALLAST_SIMD_CLONES void attention_merge_rows(double* o, double* lse, const double* part_o, const double* part_lse,
                                              std::int64_t num_rows, std::int64_t size) {
  merge(o, lse, part_o, part_lse, num_rows, size);
}

}  // namespace ballast::kernels
