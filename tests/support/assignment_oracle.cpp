#include "tests/support/assignment_oracle.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <stdexcept>

namespace ballast::support {

double best_assignment_objective(const std::vector<double>& score_TE, std::int64_t k, std::vector<std::int64_t> capacity_E) {
  const std::int64_t num_experts = static_cast<std::int64_t>(capacity_E.size());
  const std::int64_t num_tokens = static_cast<std::int64_t>(score_TE.size()) / num_experts;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  constexpr double kRounding = 1e-13;
  std::vector<char> holds_TE(score_TE.size(), 0);
  std::vector<std::int64_t> excess_E(num_experts);
  double objective = 0;
  for (std::int64_t j = 0; j < num_experts; ++j) excess_E[j] = -capacity_E[j];
  for (std::int64_t i = 0; i < num_tokens; ++i) {
    std::vector<std::int64_t> order(num_experts);
    std::iota(order.begin(), order.end(), std::int64_t{0});
    const double* score = score_TE.data() + i * num_experts;
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) { return score[a] > score[b]; });
    for (std::int64_t slot = 0; slot < k; ++slot) {
      holds_TE[i * num_experts + order[slot]] = 1;
      ++excess_E[order[slot]];
      objective += score[order[slot]];
    }
  }

  struct Move {
    double loss = std::numeric_limits<double>::infinity();
    std::int64_t token = -1;
  };
  while (std::any_of(excess_E.begin(), excess_E.end(), [](std::int64_t excess) { return excess > 0; })) {
    std::vector<Move> cheapest(num_experts * num_experts);  // [from, to]
    for (std::int64_t i = 0; i < num_tokens; ++i) {
      for (std::int64_t from = 0; from < num_experts; ++from) {
        if (!holds_TE[i * num_experts + from]) continue;
        for (std::int64_t to = 0; to < num_experts; ++to) {
          if (holds_TE[i * num_experts + to]) continue;
          Move& move = cheapest[from * num_experts + to];
          const double loss = score_TE[i * num_experts + from] - score_TE[i * num_experts + to];
          if (loss < move.loss) move = {loss, i};
        }
      }
    }
    std::vector<double> distance(num_experts);
    std::vector<std::int64_t> previous(num_experts, -1);
    for (std::int64_t j = 0; j < num_experts; ++j) distance[j] = excess_E[j] > 0 ? 0.0 : kInfinity;
    for (std::int64_t round = 0; round < num_experts; ++round) {  // Bellman-Ford
      for (std::int64_t from = 0; from < num_experts; ++from) {
        for (std::int64_t to = 0; to < num_experts; ++to) {
          const double candidate = distance[from] + cheapest[from * num_experts + to].loss;
          if (candidate < distance[to] - kRounding) {
            distance[to] = candidate;
            previous[to] = from;
          }
        }
      }
    }
    std::int64_t end = -1;
    for (std::int64_t j = 0; j < num_experts; ++j) {
      if (excess_E[j] < 0 && (end < 0 || distance[j] < distance[end])) end = j;
    }
    if (end < 0 || distance[end] == kInfinity)
      throw std::runtime_error("best_assignment_objective: the capacities cannot be met");
    std::int64_t to = end;
    for (; previous[to] >= 0; to = previous[to]) {
      const Move& move = cheapest[previous[to] * num_experts + to];
      holds_TE[move.token * num_experts + previous[to]] = 0;
      holds_TE[move.token * num_experts + to] = 1;
      objective -= move.loss;
    }
    --excess_E[to];
    ++excess_E[end];
  }
  return objective;
}

}  // namespace ballast::support
