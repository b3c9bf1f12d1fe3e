#include "kernels/balance/balance_cpu.h"

#include <ATen/Parallel.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <queue>
#include <tuple>
#include <vector>

namespace ballast::kernels::balance_cpu {
namespace {

constexpr std::int64_t kRowsPerTask = 256;
constexpr std::int64_t kColumnsPerTask = 1;

/// The `num_wanted` largest score - price of one row, falling, with their experts; equal values keep the lower expert first.
template <class Scalar>
void select_largest(const Scalar* score_E, const Scalar* price_E, std::int64_t num_experts, std::int64_t num_wanted,
                    Scalar* value, std::int64_t* expert) {
  std::int64_t num_found = 0;
  for (std::int64_t j = 0; j < num_experts; ++j) {
    const Scalar candidate = score_E[j] - price_E[j];
    if (num_found == num_wanted) {
      if (!(candidate > value[num_found - 1])) continue;
      --num_found;
    }
    std::int64_t place = num_found++;
    for (; place > 0 && value[place - 1] < candidate; --place) {
      value[place] = value[place - 1];
      expert[place] = expert[place - 1];
    }
    value[place] = candidate;
    expert[place] = j;
  }
}

}  // namespace

template <class Scalar>
std::int64_t find_non_finite(Scores<Scalar> scores) {
  const std::int64_t size = scores.num_tokens * scores.num_experts;
  for (std::int64_t i = 0; i < size; ++i) {
    if (!std::isfinite(scores.data[i])) return i;
  }
  return -1;
}

template <class Scalar>
void topk_experts(Scores<Scalar> scores, const Scalar* price_E, std::int64_t k, std::int64_t* expert_TK) {
  at::parallel_for(0, scores.num_tokens, kRowsPerTask, [&](std::int64_t begin, std::int64_t end) {
    std::vector<Scalar> value(k);
    for (std::int64_t i = begin; i < end; ++i) {
      std::int64_t* chosen_K = expert_TK + i * k;
      select_largest(scores.row(i), price_E, scores.num_experts, k, value.data(), chosen_K);
      std::sort(chosen_K, chosen_K + k);
    }
  });
}

template <class Scalar>
void token_prices(Scores<Scalar> scores, const Scalar* price_E, std::int64_t k, Scalar* token_price_T) {
  at::parallel_for(0, scores.num_tokens, kRowsPerTask, [&](std::int64_t begin, std::int64_t end) {
    std::vector<Scalar> value(k + 1);
    std::vector<std::int64_t> expert(k + 1);
    for (std::int64_t i = begin; i < end; ++i) {
      select_largest(scores.row(i), price_E, scores.num_experts, k + 1, value.data(), expert.data());
      token_price_T[i] = value[k];
    }
  });
}

template <class Scalar>
void expert_prices(Scores<Scalar> scores, const Scalar* token_price_T, std::int64_t capacity, Scalar* price_E) {
  const std::int64_t num_tokens = scores.num_tokens;
  const std::int64_t rank = std::min(capacity, num_tokens - 1);
  at::parallel_for(0, scores.num_experts, kColumnsPerTask, [&](std::int64_t begin, std::int64_t end) {
    std::vector<Scalar> column_T(num_tokens);
    for (std::int64_t j = begin; j < end; ++j) {
      for (std::int64_t i = 0; i < num_tokens; ++i) column_T[i] = scores.row(i)[j] - token_price_T[i];
      std::nth_element(column_T.begin(), column_T.begin() + rank, column_T.end(), std::greater<>());
      price_E[j] = column_T[rank];
    }
  });
}

template <class Scalar>
std::int64_t repair(Scores<Scalar> scores, const Scalar* price_E, const std::int64_t* capacity_E, std::int64_t k,
                    std::int64_t* expert_TK) {
  const std::int64_t num_tokens = scores.num_tokens;
  const std::int64_t num_experts = scores.num_experts;
  std::vector<std::int64_t> excess_E(num_experts);  // load - capacity
  for (std::int64_t j = 0; j < num_experts; ++j) excess_E[j] = -capacity_E[j];
  for (std::int64_t slot = 0; slot < num_tokens * k; ++slot) ++excess_E[expert_TK[slot]];

  std::vector<std::int64_t> under;  // experts with room; only ever shrinks
  std::int64_t num_to_move = 0;
  for (std::int64_t j = 0; j < num_experts; ++j) {
    if (excess_E[j] < 0) under.push_back(j);
    num_to_move += std::max<std::int64_t>(0, excess_E[j]);
  }
  const std::int64_t num_moved = num_to_move;

  const auto net = [&](std::int64_t token, std::int64_t expert) { return scores.row(token)[expert] - price_E[expert]; };
  const auto turn = [&](std::int64_t token, std::int64_t expert) {
    const std::int64_t difference = (expert - token) % num_experts;
    return difference < 0 ? difference + num_experts : difference;
  };
  const auto holds = [&](std::int64_t token, std::int64_t expert) {
    const std::int64_t* chosen_K = expert_TK + token * k;
    return std::find(chosen_K, chosen_K + k, expert) != chosen_K + k;
  };
  // Best expert with room that the token does not hold; -1: none, now and later.
  const auto best_target = [&](std::int64_t token) {
    std::int64_t best = -1;
    Scalar best_net = 0;
    for (const std::int64_t expert : under) {
      const Scalar candidate = net(token, expert);
      const bool is_better =
          best < 0 || candidate > best_net || (candidate == best_net && turn(token, expert) < turn(token, best));
      if (is_better && !holds(token, expert)) {
        best = expert;
        best_net = candidate;
      }
    }
    return best;
  };

  using Move = std::tuple<Scalar, std::int64_t, std::int64_t, std::int64_t>;  // regret, token, from, to
  std::priority_queue<Move, std::vector<Move>, std::greater<>> moves;
  const auto propose = [&](std::int64_t token, std::int64_t from) {
    const std::int64_t to = best_target(token);
    if (to >= 0) moves.emplace(net(token, from) - net(token, to), token, from, to);
  };
  for (std::int64_t token = 0; num_to_move > 0 && token < num_tokens; ++token) {
    for (std::int64_t slot = token * k; slot < (token + 1) * k; ++slot) {
      if (excess_E[expert_TK[slot]] > 0) propose(token, expert_TK[slot]);
    }
  }
  while (num_to_move > 0) {
    TORCH_CHECK(!moves.empty(), "repair_assignment: ", num_to_move, " slots are above their capacity and no token can move");
    const auto [regret, token, from, to] = moves.top();
    moves.pop();
    if (excess_E[from] <= 0) continue;
    if (excess_E[to] >= 0 || holds(token, to)) {  // the target filled up, or another slot of the token took it
      propose(token, from);
      continue;
    }
    std::int64_t* chosen_K = expert_TK + token * k;
    *std::find(chosen_K, chosen_K + k, from) = to;
    --excess_E[from];
    --num_to_move;
    if (++excess_E[to] == 0) under.erase(std::find(under.begin(), under.end(), to));
  }
  for (std::int64_t token = 0; num_moved > 0 && token < num_tokens; ++token) {
    std::sort(expert_TK + token * k, expert_TK + (token + 1) * k);
  }
  return num_moved;
}

#define BALLAST_INSTANTIATE(Scalar)                                                       \
  template std::int64_t find_non_finite(Scores<Scalar>);                                  \
  template void topk_experts(Scores<Scalar>, const Scalar*, std::int64_t, std::int64_t*); \
  template void token_prices(Scores<Scalar>, const Scalar*, std::int64_t, Scalar*);       \
  template void expert_prices(Scores<Scalar>, const Scalar*, std::int64_t, Scalar*);      \
  template std::int64_t repair(Scores<Scalar>, const Scalar*, const std::int64_t*, std::int64_t, std::int64_t*);
BALLAST_INSTANTIATE(float)
BALLAST_INSTANTIATE(double)
#undef BALLAST_INSTANTIATE

}  // namespace ballast::kernels::balance_cpu
