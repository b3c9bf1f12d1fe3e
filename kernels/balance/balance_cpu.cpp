#include "kernels/balance/balance_cpu.h"

#include <ATen/Parallel.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <functional>
#include <limits>
#include <numeric>
#include <queue>
#include <tuple>
#include <vector>

namespace ballast::kernels::balance_cpu {
namespace {

constexpr std::int64_t kTokensPerTask = 512;
constexpr std::int64_t kExpertsPerTask = 1;

/// The `rank`-th largest value. Narrowed to one bin of a histogram first, which is left in `values`.
template <class Scalar>
Scalar select_largest(std::vector<Scalar>& values, std::int64_t rank) {
  constexpr std::int64_t kBins = 256;
  Scalar smallest = values[0], largest = values[0];
  for (const Scalar value : values) {
    smallest = value < smallest ? value : smallest;
    largest = value > largest ? value : largest;
  }
  const Scalar bins_per_unit = static_cast<Scalar>(kBins - 1) / (largest - smallest);
  if (bins_per_unit <= std::numeric_limits<Scalar>::max()) {  // some spread
    std::array<std::int64_t, kBins> count{};
    const auto bin_of = [&](Scalar value) { return static_cast<std::int32_t>((largest - value) * bins_per_unit); };  // falling
    for (const Scalar value : values) ++count[bin_of(value)];
    std::int32_t bin = 0;
    for (; rank >= count[bin]; ++bin) rank -= count[bin];
    std::int64_t num_kept = 0;
    for (const Scalar value : values) {
      values[num_kept] = value;
      num_kept += bin_of(value) == bin;
    }
    values.resize(num_kept);
  }
  std::nth_element(values.begin(), values.begin() + rank, values.end(), std::greater<>());
  return values[rank];
}

}  // namespace

template <class Scalar>
Sums sum(const Scalar* values, std::int64_t count) {
  // Independent partial sums let the compiler use vector registers without reordering additions.
  constexpr std::int64_t kLanes = 8;
  std::array<double, kLanes> sums{}, squares{};
  const auto add = [&](std::int64_t lane, double value) {
    sums[lane] += value;
    squares[lane] += value * value;
  };
  const std::int64_t whole = count - count % kLanes;
  for (std::int64_t begin = 0; begin < whole; begin += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) add(lane, values[begin + lane]);
  }
  for (std::int64_t i = whole; i < count; ++i) add(i - whole, values[i]);
  return {std::accumulate(sums.begin(), sums.end(), 0.0), std::accumulate(squares.begin(), squares.end(), 0.0)};
}

template <class Scalar>
void round_to_grid(Scalar* values, std::int64_t count, double grid) {
  // In the binade of `shift` neighbouring numbers are one grid step apart, so the addition rounds.
  const Scalar shift = static_cast<Scalar>(1.5 / static_cast<double>(std::numeric_limits<Scalar>::epsilon()) * grid);
  for (std::int64_t i = 0; i < count; ++i) values[i] = (values[i] + shift) - shift;
}

template <class Scalar>
void select_over_experts(Scores<Scalar> scores_ET, const Scalar* price_E, std::int64_t rank, Scalar* value_T) {
  constexpr std::int64_t kBlock = 64;  // tokens side by side
  using Block = std::array<Scalar, kBlock>;
  at::parallel_for(0, scores_ET.num_columns, kTokensPerTask, [&](std::int64_t task_begin, std::int64_t task_end) {
    std::vector<Block> largest(rank + 1);  // falling
    for (std::int64_t begin = task_begin; begin < task_end; begin += kBlock) {
      const std::int64_t size = std::min(kBlock, task_end - begin);
      for (Block& block : largest) block.fill(-std::numeric_limits<Scalar>::infinity());
      for (std::int64_t j = 0; j < scores_ET.num_rows; ++j) {
        const Scalar* score = scores_ET.row(j) + begin;
        Block rest{};
        for (std::int64_t t = 0; t < size; ++t) rest[t] = score[t] - price_E[j];
        for (Block& block : largest) {  // each keeps the larger and passes the smaller on
          for (std::int64_t t = 0; t < kBlock; ++t) {
            const Scalar larger = block[t] > rest[t] ? block[t] : rest[t];
            rest[t] = block[t] > rest[t] ? rest[t] : block[t];
            block[t] = larger;
          }
        }
      }
      std::copy_n(largest.back().begin(), size, value_T + begin);
    }
  });
}

template <class Scalar>
void select_over_tokens(Scores<Scalar> scores_ET, const Scalar* token_price_T, std::int64_t rank, Scalar* value_E) {
  at::parallel_for(0, scores_ET.num_rows, kExpertsPerTask, [&](std::int64_t begin, std::int64_t end) {
    std::vector<Scalar> net_T;
    for (std::int64_t j = begin; j < end; ++j) {
      net_T.resize(scores_ET.num_columns);
      for (std::int64_t i = 0; i < scores_ET.num_columns; ++i) net_T[i] = scores_ET.row(j)[i] - token_price_T[i];
      value_E[j] = select_largest(net_T, rank);
    }
  });
}

template <class Scalar>
void choose(Scores<Scalar> scores_TE, const Scalar* price_E, const Scalar* threshold_T, std::int64_t k, std::int64_t* expert_TK) {
  at::parallel_for(0, scores_TE.num_rows, kTokensPerTask, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const Scalar* score_E = scores_TE.row(i);
      std::int64_t num_equal = k;  // that still fit
      for (std::int64_t j = 0; j < scores_TE.num_columns; ++j) num_equal -= score_E[j] - price_E[j] > threshold_T[i];
      std::int64_t* chosen = expert_TK + i * k;
      for (std::int64_t j = 0; j < scores_TE.num_columns; ++j) {
        const Scalar net = score_E[j] - price_E[j];
        if (net > threshold_T[i] || (net == threshold_T[i] && num_equal-- > 0)) *chosen++ = j;
      }
    }
  });
}

template <class Scalar>
std::int64_t repair(Scores<Scalar> scores_TE, const Scalar* price_E, const std::int64_t* capacity_E, std::int64_t k,
                    std::int64_t* expert_TK) {
  const std::int64_t num_tokens = scores_TE.num_rows;
  const std::int64_t num_experts = scores_TE.num_columns;
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

  const auto net = [&](std::int64_t token, std::int64_t expert) { return scores_TE.row(token)[expert] - price_E[expert]; };
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

#define BALLAST_INSTANTIATE(Scalar)                                                                \
  template Sums sum(const Scalar*, std::int64_t);                                                  \
  template void round_to_grid(Scalar*, std::int64_t, double);                                      \
  template void select_over_experts(Scores<Scalar>, const Scalar*, std::int64_t, Scalar*);         \
  template void select_over_tokens(Scores<Scalar>, const Scalar*, std::int64_t, Scalar*);          \
  template void choose(Scores<Scalar>, const Scalar*, const Scalar*, std::int64_t, std::int64_t*); \
  template std::int64_t repair(Scores<Scalar>, const Scalar*, const std::int64_t*, std::int64_t, std::int64_t*);
BALLAST_INSTANTIATE(float)
BALLAST_INSTANTIATE(double)
#undef BALLAST_INSTANTIATE

}  // namespace ballast::kernels::balance_cpu
