#pragma once
// The loops of balance.h on raw memory: the readable reference. Arguments are checked by balance.cpp.
// The dual works expert by expert, so it takes the scores transposed, [E, T]; choice and repair work token by token.
#include <cstdint>

namespace ballast::kernels::balance_cpu {

/// Row-major scores: [T, E] where a token's row is wanted, [E, T] where an expert's is.
template <class Scalar>
struct Scores {
  const Scalar* data;
  std::int64_t num_rows;
  std::int64_t num_columns;
  const Scalar* row(std::int64_t index) const { return data + index * num_columns; }
};

/// Sums over all scores, in double; NaN or infinite when a score is.
struct Sums {
  double values;
  double squares;
};
template <class Scalar>
Sums sum(const Scalar* values, std::int64_t count);
/// Each value to the nearest multiple of `grid`, a power of two.
template <class Scalar>
void round_to_grid(Scalar* values, std::int64_t count, double grid);
/// The `rank`-th largest s_ij - q_j of each token, rank 0 the largest.
template <class Scalar>
void select_over_experts(Scores<Scalar> scores_ET, const Scalar* price_E, std::int64_t rank, Scalar* value_T);
/// The `rank`-th largest s_ij - p_i of each expert, rank 0 the largest.
template <class Scalar>
void select_over_tokens(Scores<Scalar> scores_ET, const Scalar* token_price_T, std::int64_t rank, Scalar* value_E);
/// The k experts with the largest s_ij - q_j of each token, ascending; `threshold_T` is the (k-1)-th by select_over_experts.
template <class Scalar>
void choose(Scores<Scalar> scores_TE, const Scalar* price_E, const Scalar* threshold_T, std::int64_t k, std::int64_t* expert_TK);
/// Returns: slots moved. Rows of expert_TK are left ascending.
template <class Scalar>
std::int64_t repair(Scores<Scalar> scores_TE, const Scalar* price_E, const std::int64_t* capacity_E, std::int64_t k,
                    std::int64_t* expert_TK);

}  // namespace ballast::kernels::balance_cpu
