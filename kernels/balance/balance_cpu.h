#pragma once
// The loops of balance.h on raw memory: the readable reference. Arguments are checked by balance.cpp.
#include <cstdint>

namespace ballast::kernels::balance_cpu {

/// Row-major scores [T, E].
template <class Scalar>
struct Scores {
  const Scalar* data;
  std::int64_t num_tokens;
  std::int64_t num_experts;
  const Scalar* row(std::int64_t token) const { return data + token * num_experts; }
};

/// Index in [0, T E) of the first score that is NaN or infinite; -1: none.
template <class Scalar>
std::int64_t find_non_finite(Scores<Scalar> scores);
template <class Scalar>
void topk_experts(Scores<Scalar> scores, const Scalar* price_E, std::int64_t k, std::int64_t* expert_TK);
template <class Scalar>
void token_prices(Scores<Scalar> scores, const Scalar* price_E, std::int64_t k, Scalar* token_price_T);
template <class Scalar>
void expert_prices(Scores<Scalar> scores, const Scalar* token_price_T, std::int64_t capacity, Scalar* price_E);
/// Returns: slots moved. Rows of expert_TK are left ascending.
template <class Scalar>
std::int64_t repair(Scores<Scalar> scores, const Scalar* price_E, const std::int64_t* capacity_E, std::int64_t k,
                    std::int64_t* expert_TK);

}  // namespace ballast::kernels::balance_cpu
