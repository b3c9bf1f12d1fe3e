#pragma once
// Assignment of tokens to experts: prices (the dual), selection by score minus price, and exact repair of the loads.
//
//   maximise sum_ij s_ij x_ij   with  sum_j x_ij = K,  sum_i x_ij = c_j,  x_ij in {0, 1}
//
// s = scores_TE; p = token_price_T and q = price_E are the multipliers of the two constraints. At the optimum token i takes the K
// largest s_ij - q_j. Everything here is a pure function, independent of the number of threads.
// A token is its row: ties go by row, so rows in (sequence, position) order make the answer independent of who holds the tokens.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

namespace ballast::kernels {

/// Experts with the K largest s_ij - q_j of each token; equal ones in favour of the lower expert.
/// Shapes: scores_TE, price_E (same type, float32 or float64); 1 <= k <= E.
/// Returns: int64 expert_TK, ascending in each row.
/// Throws: std::runtime_error when a score is not finite (here and wherever scores_TE is taken).
at::Tensor topk_experts(const at::Tensor& scores_TE, const at::Tensor& price_E, std::int64_t k);

/// Price of each token for fixed expert prices: the (K+1)-th largest s_ij - q_j of its row.
/// Shapes: 1 <= k < E.
/// Returns: token_price_T.
at::Tensor token_prices(const at::Tensor& scores_TE, const at::Tensor& price_E, std::int64_t k);

/// Price of each expert for fixed token prices: the (c+1)-th largest s_ij - p_i of its column; the smallest when c = T.
/// Shapes: T >= 1; 0 <= capacity <= T, the same for all experts.
/// Returns: price_E.
at::Tensor expert_prices(const at::Tensor& scores_TE, const at::Tensor& token_price_T, std::int64_t capacity);

/// Repeats `iterations` times p = token_prices(q), q = center(expert_prices(p)) with capacity floor(T K / E), starting from
/// price_E. Returns: price_E; zeros when K = E; the price given when T = 0. Cost: O(iterations T (E + K)). Source: 2502.15451,
/// without the clip to q >= 0.
at::Tensor balance_prices(const at::Tensor& scores_TE, const at::Tensor& start_E, std::int64_t k, std::int64_t iterations);

/// Slots of each expert.
/// Returns: int64 count_E, sum T K.
at::Tensor expert_counts(const at::Tensor& expert_TK, std::int64_t num_experts);

/// Best integer loads: floor(T K / E) each; the T K mod E units left over go to the largest provisional loads, equal ones in
/// favour of the larger price, then the lower expert. Returns: capacity_E, sum T K.
std::vector<std::int64_t> expert_capacities(const at::Tensor& count_E, const at::Tensor& price_E, std::int64_t num_tokens,
                                            std::int64_t k);

struct Repaired {
  at::Tensor expert_TK;    ///< ascending in each row
  std::int64_t num_moved;  ///< slots that changed their expert: sum_j max(0, load_j - c_j)
};
/// Moves slots from experts above their capacity to experts below it, always the one that loses least of s_ij - q_j, until every
/// load equals its capacity. Ties: lower token, lower expert given up, smaller (new expert - token) mod E, which spreads equal
/// scores. Shapes: expert_TK int64, distinct in each row; capacities differ by at most one (then it cannot get stuck) and sum to
/// T K. Cost: O(slots at overloaded experts x (E + log)). Throws: c10::Error for capacities that are not as above.
Repaired repair_assignment(const at::Tensor& expert_TK, const at::Tensor& scores_TE, const at::Tensor& price_E,
                           std::span<const std::int64_t> capacity_E);

/// Sum of the chosen scores, in double.
double assignment_objective(const at::Tensor& scores_TE, const at::Tensor& expert_TK);

/// D(p, q) = K sum p + sum c q + sum max(0, s - p - q) with p = token_prices(q): no assignment with these capacities scores more.
/// So 1 - objective / bound certifies how far an assignment can be from the best.
double dual_bound(const at::Tensor& scores_TE, const at::Tensor& price_E, std::int64_t k,
                  std::span<const std::int64_t> capacity_E);

struct Balanced {
  at::Tensor expert_TK;    ///< int64, ascending in each row
  at::Tensor price_E;      ///< to start the next batch from
  at::Tensor count_E;      ///< int64; equals the capacities: largest and smallest differ by at most one
  std::int64_t num_moved;  ///< by the repair
};
/// Exactly balanced assignment: balance_prices, topk_experts, expert_capacities, repair_assignment.
/// All of it on scores rounded to multiples of a power of two, about 2^-12 of their standard deviation, on which the arithmetic
/// of prices is exact. Equal tokens (every document's first) and the ties that prices make by construction are then true ties,
/// decided by row and expert, and not by the last bits, which depend on how many rows a rank multiplied at once. Shapes:
/// scores_TE, start_E (prices to start from; zeros when nothing is known); 1 <= k <= E; iterations >= 0.
Balanced balanced_assignment(const at::Tensor& scores_TE, const at::Tensor& start_E, std::int64_t k, std::int64_t iterations);

}  // namespace ballast::kernels
