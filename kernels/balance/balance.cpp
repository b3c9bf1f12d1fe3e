#include "kernels/balance/balance.h"

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "kernels/balance/balance_cpu.h"

namespace ballast::kernels {
namespace {

void check_scores(const char* where, const at::Tensor& scores_TE) {
  TORCH_CHECK(scores_TE.dim() == 2 && scores_TE.size(1) >= 1, where, ": scores have shape ", scores_TE.sizes(), ", not [T, E]");
  TORCH_CHECK(scores_TE.is_contiguous() && scores_TE.is_cpu(), where, ": scores must be contiguous and on the CPU");
  TORCH_CHECK(scores_TE.scalar_type() == at::kFloat || scores_TE.scalar_type() == at::kDouble, where, ": scores are ",
              scores_TE.scalar_type(), ", not float32 or float64");
}

void check_finite(const char* where, const at::Tensor& scores_TE) {
  AT_DISPATCH_FLOATING_TYPES(scores_TE.scalar_type(), "balance", [&] {
    const balance_cpu::Scores<scalar_t> scores{scores_TE.const_data_ptr<scalar_t>(), scores_TE.size(0), scores_TE.size(1)};
    if (const std::int64_t bad = balance_cpu::find_non_finite(scores); bad >= 0) {
      throw std::runtime_error(c10::str(where, ": the score of token ", bad / scores.num_experts, " (of ", scores.num_tokens,
                                        ") for expert ", bad % scores.num_experts, " (of ", scores.num_experts, ") is ",
                                        scores.data[bad],
                                        "; scores must be finite: the model has diverged, lower the learning rate "
                                        "or resume from an earlier checkpoint"));
    }
  });
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

void check_choice(const char* where, const at::Tensor& expert_TK) {
  TORCH_CHECK(expert_TK.dim() == 2 && expert_TK.scalar_type() == at::kLong && expert_TK.is_contiguous() && expert_TK.is_cpu(),
              where, ": the chosen experts must be a contiguous int64 [T, K] on the CPU, not ", expert_TK.scalar_type(),
              expert_TK.sizes());
}

void check_capacities(const char* where, std::span<const std::int64_t> capacity_E, std::int64_t num_experts,
                      std::int64_t num_slots) {
  TORCH_CHECK(static_cast<std::int64_t>(capacity_E.size()) == num_experts, where, ": ", capacity_E.size(), " capacities for ",
              num_experts, " experts");
  const std::int64_t sum = std::accumulate(capacity_E.begin(), capacity_E.end(), std::int64_t{0});
  TORCH_CHECK(sum == num_slots, where, ": the capacities sum to ", sum, ", not to T K = ", num_slots);
}

}  // namespace

at::Tensor topk_experts(const at::Tensor& scores_TE, const at::Tensor& price_E, std::int64_t k) {
  constexpr const char* kWhere = "topk_experts";
  check_scores(kWhere, scores_TE);
  check_vector(kWhere, "price", price_E, scores_TE.size(1), scores_TE);
  check_k(kWhere, k, scores_TE.size(1));
  check_finite(kWhere, scores_TE);
  at::Tensor expert_TK = at::empty({scores_TE.size(0), k}, scores_TE.options().dtype(at::kLong));
  AT_DISPATCH_FLOATING_TYPES(scores_TE.scalar_type(), kWhere, [&] {
    balance_cpu::topk_experts<scalar_t>({scores_TE.const_data_ptr<scalar_t>(), scores_TE.size(0), scores_TE.size(1)},
                                        price_E.const_data_ptr<scalar_t>(), k, expert_TK.mutable_data_ptr<std::int64_t>());
  });
  return expert_TK;
}

at::Tensor token_prices(const at::Tensor& scores_TE, const at::Tensor& price_E, std::int64_t k) {
  constexpr const char* kWhere = "token_prices";
  check_scores(kWhere, scores_TE);
  check_vector(kWhere, "price", price_E, scores_TE.size(1), scores_TE);
  check_k(kWhere, k, scores_TE.size(1) - 1);
  check_finite(kWhere, scores_TE);
  at::Tensor token_price_T = at::empty({scores_TE.size(0)}, scores_TE.options());
  AT_DISPATCH_FLOATING_TYPES(scores_TE.scalar_type(), kWhere, [&] {
    balance_cpu::token_prices<scalar_t>({scores_TE.const_data_ptr<scalar_t>(), scores_TE.size(0), scores_TE.size(1)},
                                        price_E.const_data_ptr<scalar_t>(), k, token_price_T.mutable_data_ptr<scalar_t>());
  });
  return token_price_T;
}

at::Tensor expert_prices(const at::Tensor& scores_TE, const at::Tensor& token_price_T, std::int64_t capacity) {
  constexpr const char* kWhere = "expert_prices";
  check_scores(kWhere, scores_TE);
  check_vector(kWhere, "token price", token_price_T, scores_TE.size(0), scores_TE);
  TORCH_CHECK(scores_TE.size(0) >= 1 && capacity >= 0 && capacity <= scores_TE.size(0), kWhere, ": capacity ", capacity, " with ",
              scores_TE.size(0), " tokens");
  check_finite(kWhere, scores_TE);
  at::Tensor price_E = at::empty({scores_TE.size(1)}, scores_TE.options());
  AT_DISPATCH_FLOATING_TYPES(scores_TE.scalar_type(), kWhere, [&] {
    balance_cpu::expert_prices<scalar_t>({scores_TE.const_data_ptr<scalar_t>(), scores_TE.size(0), scores_TE.size(1)},
                                         token_price_T.const_data_ptr<scalar_t>(), capacity,
                                         price_E.mutable_data_ptr<scalar_t>());
  });
  return price_E;
}

at::Tensor center_prices(const at::Tensor& price_E) {
  at::Tensor centered_E = price_E.clone();
  AT_DISPATCH_FLOATING_TYPES(price_E.scalar_type(), "center_prices", [&] {
    scalar_t* price = centered_E.mutable_data_ptr<scalar_t>();
    double sum = 0;
    for (std::int64_t j = 0; j < centered_E.numel(); ++j) sum += static_cast<double>(price[j]);
    const double mean = sum / static_cast<double>(centered_E.numel());
    for (std::int64_t j = 0; j < centered_E.numel(); ++j) price[j] = static_cast<scalar_t>(static_cast<double>(price[j]) - mean);
  });
  return centered_E;
}

at::Tensor balance_prices(const at::Tensor& scores_TE, const at::Tensor& price_E, std::int64_t k, std::int64_t iterations) {
  constexpr const char* kWhere = "balance_prices";
  check_scores(kWhere, scores_TE);
  check_vector(kWhere, "price", price_E, scores_TE.size(1), scores_TE);
  check_k(kWhere, k, scores_TE.size(1));
  TORCH_CHECK(iterations >= 0, kWhere, ": ", iterations, " iterations");
  const std::int64_t num_tokens = scores_TE.size(0);
  const std::int64_t num_experts = scores_TE.size(1);
  if (k == num_experts) return at::zeros_like(price_E);
  if (num_tokens == 0) return price_E.clone();
  at::Tensor price = price_E.clone();
  for (std::int64_t iteration = 0; iteration < iterations; ++iteration) {
    price = center_prices(expert_prices(scores_TE, token_prices(scores_TE, price, k), num_tokens * k / num_experts));
  }
  return price;
}

at::Tensor expert_counts(const at::Tensor& expert_TK, std::int64_t num_experts) {
  check_choice("expert_counts", expert_TK);
  at::Tensor count_E = at::zeros({num_experts}, expert_TK.options());
  const std::int64_t* expert = expert_TK.const_data_ptr<std::int64_t>();
  std::int64_t* count = count_E.mutable_data_ptr<std::int64_t>();
  for (std::int64_t slot = 0; slot < expert_TK.numel(); ++slot) {
    TORCH_CHECK(expert[slot] >= 0 && expert[slot] < num_experts, "expert_counts: expert ", expert[slot], " of ", num_experts);
    ++count[expert[slot]];
  }
  return count_E;
}

std::vector<std::int64_t> expert_capacities(const at::Tensor& count_E, const at::Tensor& price_E, std::int64_t num_tokens,
                                            std::int64_t k) {
  const std::int64_t num_experts = count_E.numel();
  TORCH_CHECK(price_E.numel() == num_experts && num_experts >= 1, "expert_capacities: ", price_E.numel(), " prices for ",
              num_experts, " experts");
  std::vector<std::int64_t> capacity_E(num_experts, num_tokens * k / num_experts);
  const std::int64_t num_left = num_tokens * k % num_experts;
  std::vector<std::int64_t> order(num_experts);
  std::iota(order.begin(), order.end(), std::int64_t{0});
  const std::int64_t* count = count_E.const_data_ptr<std::int64_t>();
  AT_DISPATCH_FLOATING_TYPES(price_E.scalar_type(), "expert_capacities", [&] {
    const scalar_t* price = price_E.const_data_ptr<scalar_t>();
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
      return count[a] != count[b] ? count[a] > count[b] : price[a] > price[b];
    });
  });
  for (std::int64_t i = 0; i < num_left; ++i) ++capacity_E[order[i]];
  return capacity_E;
}

Repaired repair_assignment(const at::Tensor& expert_TK, const at::Tensor& scores_TE, const at::Tensor& price_E,
                           std::span<const std::int64_t> capacity_E) {
  constexpr const char* kWhere = "repair_assignment";
  check_scores(kWhere, scores_TE);
  check_vector(kWhere, "price", price_E, scores_TE.size(1), scores_TE);
  check_choice(kWhere, expert_TK);
  const std::int64_t k = expert_TK.size(1);
  TORCH_CHECK(expert_TK.size(0) == scores_TE.size(0), kWhere, ": choices of ", expert_TK.size(0), " tokens for scores of ",
              scores_TE.size(0));
  check_k(kWhere, k, scores_TE.size(1));
  check_capacities(kWhere, capacity_E, scores_TE.size(1), expert_TK.numel());
  const auto [smallest, largest] = std::minmax_element(capacity_E.begin(), capacity_E.end());
  TORCH_CHECK(*largest - *smallest <= 1, kWhere, ": capacities from ", *smallest, " to ", *largest, " differ by more than one");
  expert_counts(expert_TK, scores_TE.size(1));  // every choice names an expert
  check_finite(kWhere, scores_TE);
  Repaired repaired{expert_TK.clone(), 0};
  AT_DISPATCH_FLOATING_TYPES(scores_TE.scalar_type(), kWhere, [&] {
    repaired.num_moved = balance_cpu::repair<scalar_t>(
        {scores_TE.const_data_ptr<scalar_t>(), scores_TE.size(0), scores_TE.size(1)}, price_E.const_data_ptr<scalar_t>(),
        capacity_E.data(), k, repaired.expert_TK.mutable_data_ptr<std::int64_t>());
  });
  return repaired;
}

double assignment_objective(const at::Tensor& scores_TE, const at::Tensor& expert_TK) {
  check_scores("assignment_objective", scores_TE);
  check_choice("assignment_objective", expert_TK);
  TORCH_CHECK(expert_TK.size(0) == scores_TE.size(0), "assignment_objective: choices of ", expert_TK.size(0),
              " tokens for scores of ", scores_TE.size(0));
  double sum = 0;
  AT_DISPATCH_FLOATING_TYPES(scores_TE.scalar_type(), "assignment_objective", [&] {
    const scalar_t* score = scores_TE.const_data_ptr<scalar_t>();
    const std::int64_t* expert = expert_TK.const_data_ptr<std::int64_t>();
    for (std::int64_t i = 0; i < scores_TE.size(0); ++i) {
      for (std::int64_t slot = 0; slot < expert_TK.size(1); ++slot) sum += score[i * scores_TE.size(1) + *expert++];
    }
  });
  return sum;
}

double dual_bound(const at::Tensor& scores_TE, const at::Tensor& price_E, std::int64_t k,
                  std::span<const std::int64_t> capacity_E) {
  const at::Tensor token_price_T = token_prices(scores_TE, price_E, k);
  check_capacities("dual_bound", capacity_E, scores_TE.size(1), scores_TE.size(0) * k);
  double bound = 0;
  AT_DISPATCH_FLOATING_TYPES(scores_TE.scalar_type(), "dual_bound", [&] {
    const scalar_t* score = scores_TE.const_data_ptr<scalar_t>();
    const scalar_t* price = price_E.const_data_ptr<scalar_t>();
    const scalar_t* token_price = token_price_T.const_data_ptr<scalar_t>();
    for (std::int64_t j = 0; j < scores_TE.size(1); ++j)
      bound += static_cast<double>(capacity_E[j]) * static_cast<double>(price[j]);
    for (std::int64_t i = 0; i < scores_TE.size(0); ++i) {
      bound += static_cast<double>(k) * static_cast<double>(token_price[i]);
      for (std::int64_t j = 0; j < scores_TE.size(1); ++j) {
        bound +=
            std::max(0.0, static_cast<double>(*score++) - static_cast<double>(token_price[i]) - static_cast<double>(price[j]));
      }
    }
  });
  return bound;
}

Balanced balanced_assignment(const at::Tensor& scores_TE, const at::Tensor& price_E, std::int64_t k, std::int64_t iterations) {
  Balanced balanced;
  balanced.price_E = balance_prices(scores_TE, price_E, k, iterations);
  balanced.expert_TK = topk_experts(scores_TE, balanced.price_E, k);
  balanced.count_E = expert_counts(balanced.expert_TK, scores_TE.size(1));
  const std::vector<std::int64_t> capacity_E = expert_capacities(balanced.count_E, balanced.price_E, scores_TE.size(0), k);
  Repaired repaired = repair_assignment(balanced.expert_TK, scores_TE, balanced.price_E, capacity_E);
  balanced.expert_TK = repaired.expert_TK;
  balanced.num_moved = repaired.num_moved;
  std::copy(capacity_E.begin(), capacity_E.end(), balanced.count_E.mutable_data_ptr<std::int64_t>());
  return balanced;
}

}  // namespace ballast::kernels
