#include "kernels/balance/balance.h"

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include "kernels/balance/balance_cpu.h"

namespace ballast::kernels {
namespace {

template <class Scalar>
balance_cpu::Scores<Scalar> view(const at::Tensor& scores) {
  return {scores.const_data_ptr<Scalar>(), scores.size(0), scores.size(1)};
}

template <class Function>
void dispatch(const at::Tensor& values, const Function& function) {
  AT_DISPATCH_FLOATING_TYPES(values.scalar_type(), "balance", [&] { function(scalar_t{}); });
}

/// Checks shape, type and that all scores are finite.
/// Returns: their sums.
balance_cpu::Sums check_scores(const char* where, const at::Tensor& scores_TE) {
  TORCH_CHECK(scores_TE.dim() == 2 && scores_TE.size(1) >= 1, where, ": scores have shape ", scores_TE.sizes(), ", not [T, E]");
  TORCH_CHECK(scores_TE.is_contiguous() && scores_TE.is_cpu(), where, ": scores must be contiguous and on the CPU");
  TORCH_CHECK(scores_TE.scalar_type() == at::kFloat || scores_TE.scalar_type() == at::kDouble, where, ": scores are ",
              scores_TE.scalar_type(), ", not float32 or float64");
  balance_cpu::Sums sums{};
  dispatch(scores_TE, [&]<class Scalar>(Scalar) {
    sums = balance_cpu::sum(scores_TE.const_data_ptr<Scalar>(), scores_TE.numel());
    if (std::isfinite(sums.squares)) return;
    const Scalar* score = scores_TE.const_data_ptr<Scalar>();
    const std::int64_t bad =
        std::find_if_not(score, score + scores_TE.numel(), [](Scalar s) { return std::isfinite(s); }) - score;
    if (bad == scores_TE.numel()) return;
    const std::int64_t num_experts = scores_TE.size(1);
    throw std::runtime_error(
        c10::str(where, ": the score of token ", bad / num_experts, " (of ", scores_TE.size(0), ") for expert ",
                 bad % num_experts, " (of ", num_experts, ") is ", score[bad],
                 "; scores must be finite: the model has diverged, lower the learning rate or resume from an "
                 "earlier checkpoint"));
  });
  return sums;
}

void check_vector(const char* where, const char* what, const at::Tensor& vector, std::int64_t size, const at::Tensor& scores_TE) {
  TORCH_CHECK(vector.dim() == 1 && vector.size(0) == size, where, ": ", what, " has shape ", vector.sizes(), ", not [", size,
              "]");
  TORCH_CHECK(vector.is_contiguous() && vector.is_cpu() && vector.scalar_type() == scores_TE.scalar_type(), where, ": ", what,
              " must be contiguous, on the CPU and of the scores' type ", scores_TE.scalar_type());
}

void check_k(const char* where, std::int64_t k, std::int64_t largest) {
  TORCH_CHECK(k >= 1 && k <= largest, where, ": K is ", k, ", not in 1..", largest);
}

void check_choice(const char* where, const at::Tensor& expert_TK, std::int64_t num_experts) {
  TORCH_CHECK(expert_TK.dim() == 2 && expert_TK.scalar_type() == at::kLong && expert_TK.is_contiguous() && expert_TK.is_cpu(),
              where, ": the chosen experts must be a contiguous int64 [T, K] on the CPU, not ", expert_TK.scalar_type(),
              expert_TK.sizes());
  const std::int64_t* expert = expert_TK.const_data_ptr<std::int64_t>();
  for (std::int64_t slot = 0; slot < expert_TK.numel(); ++slot) {
    TORCH_CHECK(expert[slot] >= 0 && expert[slot] < num_experts, where, ": expert ", expert[slot], " of ", num_experts);
  }
}

void check_capacities(const char* where, std::span<const std::int64_t> capacity_E, std::int64_t num_experts,
                      std::int64_t num_slots) {
  TORCH_CHECK(static_cast<std::int64_t>(capacity_E.size()) == num_experts, where, ": ", capacity_E.size(), " capacities for ",
              num_experts, " experts");
  const std::int64_t sum = std::accumulate(capacity_E.begin(), capacity_E.end(), std::int64_t{0});
  TORCH_CHECK(sum == num_slots, where, ": the capacities sum to ", sum, ", not to T K = ", num_slots);
}

// The steps themselves, arguments checked.

at::Tensor transposed(const at::Tensor& scores_TE) { return scores_TE.t().contiguous(); }

/// The `rank`-th largest s_ij - q_j of each token.
at::Tensor over_experts(const at::Tensor& scores_ET, const at::Tensor& price_E, std::int64_t rank) {
  at::Tensor value_T = at::empty({scores_ET.size(1)}, scores_ET.options());
  dispatch(scores_ET, [&]<class Scalar>(Scalar) {
    balance_cpu::select_over_experts(view<Scalar>(scores_ET), price_E.const_data_ptr<Scalar>(), rank,
                                     value_T.mutable_data_ptr<Scalar>());
  });
  return value_T;
}

/// The `rank`-th largest s_ij - p_i of each expert; the smallest when there are not so many.
at::Tensor over_tokens(const at::Tensor& scores_ET, const at::Tensor& token_price_T, std::int64_t rank) {
  at::Tensor value_E = at::empty({scores_ET.size(0)}, scores_ET.options());
  dispatch(scores_ET, [&]<class Scalar>(Scalar) {
    balance_cpu::select_over_tokens(view<Scalar>(scores_ET), token_price_T.const_data_ptr<Scalar>(),
                                    std::min(rank, scores_ET.size(1) - 1), value_E.mutable_data_ptr<Scalar>());
  });
  return value_E;
}

at::Tensor choose(const at::Tensor& scores_TE, const at::Tensor& scores_ET, const at::Tensor& price_E, std::int64_t k) {
  const at::Tensor threshold_T = over_experts(scores_ET, price_E, k - 1);
  at::Tensor expert_TK = at::empty({scores_TE.size(0), k}, scores_TE.options().dtype(at::kLong));
  dispatch(scores_TE, [&]<class Scalar>(Scalar) {
    balance_cpu::choose(view<Scalar>(scores_TE), price_E.const_data_ptr<Scalar>(), threshold_T.const_data_ptr<Scalar>(), k,
                        expert_TK.mutable_data_ptr<std::int64_t>());
  });
  return expert_TK;
}

/// q - mean(q), the mean rounded to the grid; grid 0: not rounded.
void center(at::Tensor& price_E, double grid) {
  dispatch(price_E, [&]<class Scalar>(Scalar) {
    Scalar* price = price_E.mutable_data_ptr<Scalar>();
    Scalar mean =
        static_cast<Scalar>(std::accumulate(price, price + price_E.numel(), 0.0) / static_cast<double>(price_E.numel()));
    if (grid > 0) balance_cpu::round_to_grid(&mean, 1, grid);
    for (std::int64_t j = 0; j < price_E.numel(); ++j) price[j] -= mean;
  });
}

at::Tensor dual(const at::Tensor& scores_ET, const at::Tensor& start_E, std::int64_t k, std::int64_t iterations, double grid) {
  const std::int64_t num_experts = scores_ET.size(0);
  const std::int64_t num_tokens = scores_ET.size(1);
  if (k == num_experts) return at::zeros_like(start_E);
  at::Tensor price_E = start_E.clone();
  for (std::int64_t iteration = 0; num_tokens > 0 && iteration < iterations; ++iteration) {
    price_E = over_tokens(scores_ET, over_experts(scores_ET, price_E, k), num_tokens * k / num_experts);
    center(price_E, grid);
  }
  return price_E;
}

/// Power of two below the standard deviation of the scores, times 2^-12; 0 when all are equal.
double grid_of(const balance_cpu::Sums& sums, std::int64_t count) {
  const double mean = sums.values / static_cast<double>(count);
  const double variance = sums.squares / static_cast<double>(count) - mean * mean;
  constexpr double kSmallestVariance = 1e-14;  // of the mean's square: below, the difference above is cancellation
  if (!(variance > kSmallestVariance * mean * mean)) return 0.0;
  return std::exp2(std::floor(std::log2(std::sqrt(variance))) - 12.0);
}

at::Tensor rounded(const at::Tensor& values, double grid) {
  at::Tensor result = values.clone();
  dispatch(result, [&]<class Scalar>(Scalar) {
    if (grid > 0) balance_cpu::round_to_grid(result.mutable_data_ptr<Scalar>(), result.numel(), grid);
  });
  return result;
}

}  // namespace

at::Tensor topk_experts(const at::Tensor& scores_TE, const at::Tensor& price_E, std::int64_t k) {
  check_scores("topk_experts", scores_TE);
  check_vector("topk_experts", "price", price_E, scores_TE.size(1), scores_TE);
  check_k("topk_experts", k, scores_TE.size(1));
  return choose(scores_TE, transposed(scores_TE), price_E, k);
}

at::Tensor token_prices(const at::Tensor& scores_TE, const at::Tensor& price_E, std::int64_t k) {
  check_scores("token_prices", scores_TE);
  check_vector("token_prices", "price", price_E, scores_TE.size(1), scores_TE);
  check_k("token_prices", k, scores_TE.size(1) - 1);
  return over_experts(transposed(scores_TE), price_E, k);
}

at::Tensor expert_prices(const at::Tensor& scores_TE, const at::Tensor& token_price_T, std::int64_t capacity) {
  check_scores("expert_prices", scores_TE);
  check_vector("expert_prices", "token price", token_price_T, scores_TE.size(0), scores_TE);
  TORCH_CHECK(scores_TE.size(0) >= 1 && capacity >= 0 && capacity <= scores_TE.size(0), "expert_prices: capacity ", capacity,
              " with ", scores_TE.size(0), " tokens");
  return over_tokens(transposed(scores_TE), token_price_T, capacity);
}

at::Tensor balance_prices(const at::Tensor& scores_TE, const at::Tensor& start_E, std::int64_t k, std::int64_t iterations) {
  check_scores("balance_prices", scores_TE);
  check_vector("balance_prices", "price", start_E, scores_TE.size(1), scores_TE);
  check_k("balance_prices", k, scores_TE.size(1));
  return dual(transposed(scores_TE), start_E, k, iterations, /*grid=*/0.0);
}

at::Tensor expert_counts(const at::Tensor& expert_TK, std::int64_t num_experts) {
  check_choice("expert_counts", expert_TK, num_experts);
  at::Tensor count_E = at::zeros({num_experts}, expert_TK.options());
  const std::int64_t* expert = expert_TK.const_data_ptr<std::int64_t>();
  std::int64_t* count = count_E.mutable_data_ptr<std::int64_t>();
  for (std::int64_t slot = 0; slot < expert_TK.numel(); ++slot) ++count[expert[slot]];
  return count_E;
}

std::vector<std::int64_t> expert_capacities(const at::Tensor& count_E, const at::Tensor& price_E, std::int64_t num_tokens,
                                            std::int64_t k) {
  const std::int64_t num_experts = count_E.numel();
  TORCH_CHECK(price_E.numel() == num_experts && num_experts >= 1, "expert_capacities: ", price_E.numel(), " prices for ",
              num_experts, " experts");
  std::vector<std::int64_t> capacity_E(num_experts, num_tokens * k / num_experts);
  std::vector<std::int64_t> order(num_experts);
  std::iota(order.begin(), order.end(), std::int64_t{0});
  const std::int64_t* count = count_E.const_data_ptr<std::int64_t>();
  dispatch(price_E, [&]<class Scalar>(Scalar) {
    const Scalar* price = price_E.const_data_ptr<Scalar>();
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
      return count[a] != count[b] ? count[a] > count[b] : price[a] > price[b];
    });
  });
  for (std::int64_t i = 0; i < num_tokens * k % num_experts; ++i) ++capacity_E[order[i]];
  return capacity_E;
}

Repaired repair_assignment(const at::Tensor& expert_TK, const at::Tensor& scores_TE, const at::Tensor& price_E,
                           std::span<const std::int64_t> capacity_E) {
  constexpr const char* kWhere = "repair_assignment";
  check_scores(kWhere, scores_TE);
  check_vector(kWhere, "price", price_E, scores_TE.size(1), scores_TE);
  check_choice(kWhere, expert_TK, scores_TE.size(1));
  TORCH_CHECK(expert_TK.size(0) == scores_TE.size(0), kWhere, ": choices of ", expert_TK.size(0), " tokens for scores of ",
              scores_TE.size(0));
  check_k(kWhere, expert_TK.size(1), scores_TE.size(1));
  check_capacities(kWhere, capacity_E, scores_TE.size(1), expert_TK.numel());
  const auto [smallest, largest] = std::minmax_element(capacity_E.begin(), capacity_E.end());
  TORCH_CHECK(*largest - *smallest <= 1, kWhere, ": capacities from ", *smallest, " to ", *largest, " differ by more than one");
  Repaired repaired{expert_TK.clone(), 0};
  dispatch(scores_TE, [&]<class Scalar>(Scalar) {
    repaired.num_moved = balance_cpu::repair(view<Scalar>(scores_TE), price_E.const_data_ptr<Scalar>(), capacity_E.data(),
                                             expert_TK.size(1), repaired.expert_TK.mutable_data_ptr<std::int64_t>());
  });
  return repaired;
}

double assignment_objective(const at::Tensor& scores_TE, const at::Tensor& expert_TK) {
  check_scores("assignment_objective", scores_TE);
  check_choice("assignment_objective", expert_TK, scores_TE.size(1));
  TORCH_CHECK(expert_TK.size(0) == scores_TE.size(0), "assignment_objective: choices of ", expert_TK.size(0),
              " tokens for scores of ", scores_TE.size(0));
  double sum = 0;
  dispatch(scores_TE, [&]<class Scalar>(Scalar) {
    const auto scores = view<Scalar>(scores_TE);
    const std::int64_t* expert = expert_TK.const_data_ptr<std::int64_t>();
    for (std::int64_t slot = 0; slot < expert_TK.numel(); ++slot) sum += scores.row(slot / expert_TK.size(1))[expert[slot]];
  });
  return sum;
}

double dual_bound(const at::Tensor& scores_TE, const at::Tensor& price_E, std::int64_t k,
                  std::span<const std::int64_t> capacity_E) {
  const at::Tensor token_price_T = token_prices(scores_TE, price_E, k);
  check_capacities("dual_bound", capacity_E, scores_TE.size(1), scores_TE.size(0) * k);
  double bound = 0;
  dispatch(scores_TE, [&]<class Scalar>(Scalar) {
    const auto scores = view<Scalar>(scores_TE);
    const Scalar* price = price_E.const_data_ptr<Scalar>();
    const Scalar* token_price = token_price_T.const_data_ptr<Scalar>();
    for (std::int64_t j = 0; j < scores.num_columns; ++j)
      bound += static_cast<double>(capacity_E[j]) * static_cast<double>(price[j]);
    for (std::int64_t i = 0; i < scores.num_rows; ++i) {
      const double p = token_price[i];
      bound += static_cast<double>(k) * p;
      for (std::int64_t j = 0; j < scores.num_columns; ++j) {
        bound += std::max(0.0, static_cast<double>(scores.row(i)[j]) - p - static_cast<double>(price[j]));
      }
    }
  });
  return bound;
}

Balanced balanced_assignment(const at::Tensor& scores_TE, const at::Tensor& start_E, std::int64_t k, std::int64_t iterations) {
  constexpr const char* kWhere = "balanced_assignment";
  const balance_cpu::Sums sums = check_scores(kWhere, scores_TE);
  check_vector(kWhere, "price", start_E, scores_TE.size(1), scores_TE);
  check_k(kWhere, k, scores_TE.size(1));
  const double grid = grid_of(sums, scores_TE.numel());
  const at::Tensor grid_scores_TE = rounded(scores_TE, grid);
  const at::Tensor grid_scores_ET = transposed(grid_scores_TE);
  Balanced balanced;
  balanced.price_E = dual(grid_scores_ET, rounded(start_E, grid), k, iterations, grid);
  balanced.expert_TK = choose(grid_scores_TE, grid_scores_ET, balanced.price_E, k);
  balanced.count_E = expert_counts(balanced.expert_TK, scores_TE.size(1));
  const std::vector<std::int64_t> capacity_E = expert_capacities(balanced.count_E, balanced.price_E, scores_TE.size(0), k);
  dispatch(scores_TE, [&]<class Scalar>(Scalar) {
    balanced.num_moved = balance_cpu::repair(view<Scalar>(grid_scores_TE), balanced.price_E.const_data_ptr<Scalar>(),
                                             capacity_E.data(), k, balanced.expert_TK.mutable_data_ptr<std::int64_t>());
  });
  std::copy(capacity_E.begin(), capacity_E.end(), balanced.count_E.mutable_data_ptr<std::int64_t>());
  return balanced;
}

}  // namespace ballast::kernels
