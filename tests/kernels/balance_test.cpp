// Assignment of tokens to experts against brute force, certificates and the measured figures of synthetic scores.
#include "kernels/balance/balance.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>

#include "tests/support/assignment_oracle.h"

namespace ballast::kernels {
namespace {

using ::testing::HasSubstr;

std::vector<std::int64_t> to_vector(const at::Tensor& values) {
  const std::int64_t* data = values.const_data_ptr<std::int64_t>();
  return {data, data + values.numel()};
}

at::Tensor normal_scores(std::int64_t num_tokens, std::int64_t num_experts, std::uint64_t seed,
                         at::ScalarType type = at::kDouble) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  at::Tensor scores_TE = at::empty({num_tokens, num_experts}, at::kDouble);
  double* score = scores_TE.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < scores_TE.numel(); ++i) score[i] = 1.0 / (1.0 + std::exp(-normal(random)));
  return scores_TE.to(type);
}

double max_vio(const at::Tensor& count_E) {
  const std::vector<std::int64_t> count = to_vector(count_E);
  const double sum = static_cast<double>(std::accumulate(count.begin(), count.end(), std::int64_t{0}));
  return static_cast<double>(*std::max_element(count.begin(), count.end())) * static_cast<double>(count.size()) / sum - 1.0;
}

/// Scores with topics, hot experts and drift, batch after batch.
class SyntheticScores {
 public:
  SyntheticScores(std::int64_t num_experts, std::uint64_t seed)
      : num_experts_(num_experts), random_(seed), expert_(num_experts * kDim), bias_(num_experts) {
    for (double& w : expert_) w = normal_(random_);
    for (double& b : bias_) b = normal_(random_);
  }
  /// Logits [T, E] of the next batch.
  at::Tensor next(std::int64_t num_tokens, std::int64_t tokens_per_topic) {
    at::Tensor logits_TE = at::empty({num_tokens, num_experts_}, at::kFloat);
    float* logit = logits_TE.mutable_data_ptr<float>();
    std::vector<double> center(kDim), token(kDim);
    for (std::int64_t i = 0; i < num_tokens; ++i) {
      if (i % tokens_per_topic == 0) {
        for (double& c : center) c = normal_(random_);
      }
      for (std::int64_t d = 0; d < kDim; ++d) token[d] = std::sqrt(0.7) * center[d] + std::sqrt(0.3) * normal_(random_);
      for (std::int64_t j = 0; j < num_experts_; ++j) {
        double dot = 0;
        for (std::int64_t d = 0; d < kDim; ++d) dot += token[d] * expert_[j * kDim + d];
        *logit++ = static_cast<float>(dot / 4.0 + bias_[j] + 0.3 * normal_(random_));
      }
    }
    for (double& w : expert_) w = (w + 0.01 * normal_(random_)) / std::sqrt(1.0 + 0.01 * 0.01);
    return logits_TE;
  }

 private:
  static constexpr std::int64_t kDim = 16;
  std::int64_t num_experts_;
  std::mt19937_64 random_;
  std::normal_distribution<double> normal_;
  std::vector<double> expert_, bias_;
};

/// Best objective of all assignments with loads equal to `capacity_E`, by dynamic programming over tokens and remaining
/// capacities.
double brute_force(const at::Tensor& scores_TE, std::int64_t k, const std::vector<std::int64_t>& capacity_E) {
  const std::int64_t num_experts = scores_TE.size(1);
  const double* score = scores_TE.const_data_ptr<double>();
  std::map<std::vector<std::int64_t>, double> best{{capacity_E, 0.0}};
  for (std::int64_t i = 0; i < scores_TE.size(0); ++i) {
    std::map<std::vector<std::int64_t>, double> next;
    for (const auto& [room, value] : best) {
      for (int subset = 0; subset < (1 << num_experts); ++subset) {
        if (__builtin_popcount(subset) != k) continue;
        std::vector<std::int64_t> left = room;
        double gain = 0;
        bool fits = true;
        for (std::int64_t j = 0; j < num_experts; ++j) {
          if (!(subset >> j & 1)) continue;
          fits &= --left[j] >= 0;
          gain += score[i * num_experts + j];
        }
        if (!fits) continue;
        const auto [place, is_new] = next.try_emplace(left, value + gain);
        if (!is_new) place->second = std::max(place->second, value + gain);
      }
    }
    best = std::move(next);
  }
  return best.at(std::vector<std::int64_t>(num_experts, 0));
}

TEST(TopkExperts, TakesTheLargestByScoreMinusPriceAndTheLowerExpertOfEquals) {
  const at::Tensor scores_TE = at::tensor({0.5, 0.9, 0.5, 0.5, 0.1, 0.2, 0.3, 0.4}, at::kDouble).view({2, 4});
  EXPECT_THAT(to_vector(topk_experts(scores_TE, at::zeros({4}, at::kDouble), 2)), ::testing::ElementsAre(0, 1, 2, 3));
  const at::Tensor price_E = at::tensor({0.0, 0.8, 0.0, 0.35}, at::kDouble);
  EXPECT_THAT(to_vector(topk_experts(scores_TE, price_E, 2)), ::testing::ElementsAre(0, 2, 0, 2));
}

TEST(Prices, AreOrderStatistics) {
  const at::Tensor scores_TE = at::tensor({0.5, 0.9, 0.1, 0.2, 0.7, 0.3, 0.4, 0.6, 0.8}, at::kDouble).view({3, 3});
  const at::Tensor zero_3 = at::zeros({3}, at::kDouble);
  EXPECT_TRUE(token_prices(scores_TE, zero_3, 1).equal(at::tensor({0.5, 0.3, 0.6}, at::kDouble)));
  EXPECT_TRUE(token_prices(scores_TE, zero_3, 2).equal(at::tensor({0.1, 0.2, 0.4}, at::kDouble)));
  EXPECT_TRUE(expert_prices(scores_TE, zero_3, 0).equal(at::tensor({0.5, 0.9, 0.8}, at::kDouble)));
  EXPECT_TRUE(expert_prices(scores_TE, zero_3, 1).equal(at::tensor({0.4, 0.7, 0.3}, at::kDouble)));
  EXPECT_TRUE(expert_prices(scores_TE, zero_3, 3).equal(at::tensor({0.2, 0.6, 0.1}, at::kDouble)));
}

TEST(ExpertCapacities, GiveTheUnitsLeftOverToTheLargestLoadsThenPrices) {
  const at::Tensor count_E = at::tensor({2, 5, 2, 2}, at::kLong);
  const at::Tensor price_E = at::tensor({0.0, 0.0, 0.5, 0.0}, at::kDouble);
  EXPECT_THAT(expert_capacities(count_E, price_E, 11, 1), ::testing::ElementsAre(3, 3, 3, 2));
  EXPECT_THAT(expert_capacities(count_E, price_E, 10, 1), ::testing::ElementsAre(2, 3, 3, 2));
  EXPECT_THAT(expert_capacities(count_E, price_E, 2, 1), ::testing::ElementsAre(0, 1, 1, 0));
}

TEST(Repair, MovesTheSlotThatLosesLeast) {
  // All three tokens want expert 0; token 1 loses least by going to 1, token 2 by going to 2.
  const at::Tensor scores_TE = at::tensor({0.9, 0.1, 0.1, 0.9, 0.8, 0.1, 0.9, 0.3, 0.4}, at::kDouble).view({3, 3});
  const at::Tensor price_E = at::zeros({3}, at::kDouble);
  const std::vector<std::int64_t> capacity_E{1, 1, 1};
  const Repaired repaired = repair_assignment(topk_experts(scores_TE, price_E, 1), scores_TE, price_E, capacity_E);
  EXPECT_THAT(to_vector(repaired.expert_TK), ::testing::ElementsAre(0, 1, 2));
  EXPECT_EQ(repaired.num_moved, 2);
}

TEST(BalancedAssignment, IsNearTheBestOfAllAssignmentsOnSmallCases) {
  double worst = 1.0, sum = 0.0, best_sum = 0.0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    for (const std::int64_t k : {1, 2}) {
      const at::Tensor scores_TE = normal_scores(8, 4, seed);
      const Balanced balanced = balanced_assignment(scores_TE, at::zeros({4}, at::kDouble), k, 4);
      ASSERT_THAT(to_vector(balanced.count_E), ::testing::Each(2 * k));
      ASSERT_TRUE(expert_counts(balanced.expert_TK, 4).equal(balanced.count_E));
      const double best = brute_force(scores_TE, k, to_vector(balanced.count_E));
      const double value = assignment_objective(scores_TE, balanced.expert_TK);
      ASSERT_LE(value, best + 1e-12);
      worst = std::min(worst, value / best);
      sum += value;
      best_sum += best;
    }
  }
  EXPECT_GE(sum / best_sum, 0.995) << "over cases of eight tokens; larger ones below";
  EXPECT_GE(worst, 0.92);
}

TEST(DualBound, IsAboveEveryAssignment) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const at::Tensor scores_TE = normal_scores(8, 4, seed);
    const std::vector<std::int64_t> capacity_E(4, 4);
    const double best = brute_force(scores_TE, 2, capacity_E);
    EXPECT_GE(dual_bound(scores_TE, at::zeros({4}, at::kDouble), 2, capacity_E), best - 1e-12);
    const at::Tensor price_E = balance_prices(scores_TE, at::zeros({4}, at::kDouble), 2, 40);
    EXPECT_GE(dual_bound(scores_TE, price_E, 2, capacity_E), best - 1e-12);
  }
}

TEST(BalancedAssignment, LoadsDifferByAtMostOneForEverySize) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    for (std::int64_t num_tokens = 0; num_tokens <= 40; ++num_tokens) {
      for (std::int64_t num_experts : {1, 2, 3, 5, 8, 64}) {
        for (std::int64_t k = 1; k <= std::min<std::int64_t>(num_experts, 6); ++k) {
          const at::Tensor scores_TE = normal_scores(num_tokens, num_experts, static_cast<std::uint64_t>(num_tokens), type);
          const at::Tensor start_E = at::zeros({num_experts}, type);
          const Balanced balanced = balanced_assignment(scores_TE, start_E, k, 2);
          const std::vector<std::int64_t> count = to_vector(balanced.count_E);
          const auto [smallest, largest] = std::minmax_element(count.begin(), count.end());
          ASSERT_LE(*largest - *smallest, 1) << num_tokens << " " << num_experts << " " << k;
          ASSERT_EQ(std::accumulate(count.begin(), count.end(), std::int64_t{0}), num_tokens * k);
          ASSERT_TRUE(expert_counts(balanced.expert_TK, num_experts).equal(balanced.count_E));
          const std::vector<std::int64_t> expert = to_vector(balanced.expert_TK);
          for (std::int64_t slot = 0; slot < num_tokens * k; ++slot) {
            ASSERT_TRUE(slot % k == 0 || expert[slot - 1] < expert[slot]) << "ascending, hence distinct";
          }
          ASSERT_TRUE((k < num_experts && num_tokens > 0) || balanced.price_E.equal(start_E));
        }
      }
    }
  }
}

TEST(BalancedAssignment, SpreadsEqualScores) {
  const Balanced balanced = balanced_assignment(at::full({64, 8}, 0.5, at::kFloat), at::zeros({8}, at::kFloat), 2, 4);
  EXPECT_THAT(to_vector(balanced.count_E), ::testing::Each(16));
}

TEST(BalancedAssignment, FollowsPermutationsOfTokensAndExperts) {
  const std::int64_t num_tokens = 96, num_experts = 8, k = 3;
  const at::Tensor scores_TE = normal_scores(num_tokens, num_experts, 7);
  const Balanced plain = balanced_assignment(scores_TE, at::zeros({num_experts}, at::kDouble), k, 4);
  std::mt19937_64 random(3);
  std::vector<std::int64_t> token(num_tokens), expert(num_experts);
  std::iota(token.begin(), token.end(), 0);
  std::iota(expert.begin(), expert.end(), 0);
  std::shuffle(token.begin(), token.end(), random);
  std::shuffle(expert.begin(), expert.end(), random);
  const at::Tensor token_T = at::tensor(token, at::kLong), expert_E = at::tensor(expert, at::kLong);

  const Balanced by_token = balanced_assignment(scores_TE.index_select(0, token_T), at::zeros({num_experts}, at::kDouble), k, 4);
  EXPECT_TRUE(by_token.expert_TK.equal(plain.expert_TK.index_select(0, token_T)));

  // Equal choices are decided by expert, so a few may differ; the objective does not.
  const Balanced by_expert =
      balanced_assignment(scores_TE.index_select(1, expert_E).contiguous(), at::zeros({num_experts}, at::kDouble), k, 4);
  EXPECT_TRUE(by_expert.price_E.equal(plain.price_E.index_select(0, expert_E)));
  EXPECT_TRUE(by_expert.count_E.equal(plain.count_E.index_select(0, expert_E)));
  const at::Tensor back_TK = expert_E.index_select(0, by_expert.expert_TK.view({-1})).view({num_tokens, k});
  EXPECT_NEAR(assignment_objective(scores_TE, back_TK), assignment_objective(scores_TE, plain.expert_TK), 0.05);
}

TEST(BalancedAssignment, DoesNotSeeRoundingNoise) {
  // A quarter of the tokens are copies, as the first tokens of documents are; several batches, so that prices are warm.
  const std::int64_t num_tokens = 400, num_experts = 8, k = 2;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    at::Tensor price_E = at::zeros({num_experts}, at::kDouble), noisy_price_E = price_E;
    for (std::uint64_t batch = 0; batch < 5; ++batch) {
      at::Tensor scores_TE = normal_scores(num_tokens, num_experts, 100 * seed + batch);
      scores_TE.narrow(0, 0, 100).copy_(scores_TE.narrow(0, 0, 1).expand({100, num_experts}));
      at::Tensor noisy_TE = scores_TE.clone();
      std::mt19937_64 random(seed);
      std::uniform_real_distribution<double> noise(-1e-14, 1e-14);
      for (std::int64_t i = 0; i < noisy_TE.numel(); ++i) noisy_TE.mutable_data_ptr<double>()[i] += noise(random);
      const Balanced exact = balanced_assignment(scores_TE, price_E, k, 4);
      const Balanced noisy = balanced_assignment(noisy_TE, noisy_price_E, k, 4);
      ASSERT_TRUE(exact.expert_TK.equal(noisy.expert_TK)) << "seed " << seed << ", batch " << batch;
      ASSERT_TRUE(exact.price_E.equal(noisy.price_E));
      price_E = exact.price_E;
      noisy_price_E = noisy.price_E;
    }
  }
}

TEST(BalancedAssignment, IsWithinOneInTenThousandOfTheExactOptimum) {
  for (const auto& [num_tokens, num_experts, k] :
       {std::tuple{2048L, 8L, 2L}, std::tuple{1024L, 16L, 4L}, std::tuple{1001L, 16L, 3L}}) {
    const at::Tensor scores_TE = normal_scores(num_tokens, num_experts, 21);
    const Balanced balanced = balanced_assignment(scores_TE, at::zeros({num_experts}, at::kDouble), k, 4);
    const std::vector<std::int64_t> capacity_E = to_vector(balanced.count_E);
    const double* score = scores_TE.const_data_ptr<double>();
    const double best = support::best_assignment_objective({score, score + scores_TE.numel()}, k, capacity_E);
    const double value = assignment_objective(scores_TE, balanced.expert_TK);
    const double bound = dual_bound(scores_TE, balance_prices(scores_TE, balanced.price_E, k, 40), k, capacity_E);
    EXPECT_LE(value, best * (1 + 1e-12));
    EXPECT_GE(value, best * 0.9999);
    EXPECT_GE(bound, best * (1 - 1e-12));
    EXPECT_LE(bound, best * 1.0001);
  }
}

TEST(Oracle, AgreesWithBruteForce) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    for (const std::int64_t k : {1, 2}) {
      const at::Tensor scores_TE = normal_scores(8, 4, seed);
      const std::vector<std::int64_t> capacity_E(4, 2 * k);
      const double* score = scores_TE.const_data_ptr<double>();
      EXPECT_NEAR(support::best_assignment_objective({score, score + 32}, k, capacity_E), brute_force(scores_TE, k, capacity_E),
                  1e-12);
    }
  }
}

TEST(BalancedAssignment, DoesNotDependOnTheNumberOfThreads) {
  const at::Tensor scores_TE = normal_scores(2048, 16, 11, at::kFloat);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const Balanced one = balanced_assignment(scores_TE, at::zeros({16}, at::kFloat), 4, 4);
  at::set_num_threads(4);
  const Balanced four = balanced_assignment(scores_TE, at::zeros({16}, at::kFloat), 4, 4);
  at::set_num_threads(threads);
  EXPECT_TRUE(one.expert_TK.equal(four.expert_TK));
  EXPECT_TRUE(one.price_E.equal(four.price_E));
}

TEST(BalancedAssignment, RefusesScoresThatAreNotFinite) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    at::Tensor scores_TE = normal_scores(10, 4, 1, at::kFloat);
    scores_TE.mutable_data_ptr<float>()[4 * 6 + 3] = bad;
    try {
      balanced_assignment(scores_TE, at::zeros({4}, at::kFloat), 2, 2);
      FAIL();
    } catch (const std::runtime_error& error) {
      EXPECT_THAT(error.what(), HasSubstr("the score of token 6 (of 10) for expert 3 (of 4) is"));
    }
  }
}

struct Figures {
  const char* name;
  std::int64_t num_experts, k;
  bool has_softmax;
  double plain_low, plain_high;            // MaxVio of plain Top-K
  double vio1_high, vio2_high, vio4_high;  // after the dual alone
  double ratio1, ratio2, ratio4;           // objective over bound after repair
};

class Synthetic : public ::testing::TestWithParam<Figures> {};

TEST_P(Synthetic, KeepsTheMeasuredFigures) {
  const Figures& figures = GetParam();
  constexpr std::int64_t kTokens = 8192, kBatches = 6;
  const std::vector<std::int64_t> iterations{1, 2, 4};
  std::vector<double> vio(3, 0.0), ratio(3, 0.0);
  std::vector<at::Tensor> price(3, at::zeros({figures.num_experts}, at::kFloat));
  double plain_vio = 0;
  SyntheticScores source(figures.num_experts, 5);
  for (std::int64_t batch = 0; batch < kBatches; ++batch) {
    const at::Tensor logits_TE = source.next(kTokens, 256);
    const at::Tensor scores_TE = figures.has_softmax ? logits_TE.softmax(1) : logits_TE.sigmoid();
    const at::Tensor zero_E = at::zeros({figures.num_experts}, at::kFloat);
    plain_vio += max_vio(expert_counts(topk_experts(scores_TE, zero_E, figures.k), figures.num_experts)) / kBatches;
    const std::vector<std::int64_t> capacity_E(figures.num_experts, kTokens * figures.k / figures.num_experts);
    const double bound = dual_bound(scores_TE, balance_prices(scores_TE, price[2], figures.k, 30), figures.k, capacity_E);
    for (std::size_t i = 0; i < iterations.size(); ++i) {
      const Balanced balanced = balanced_assignment(scores_TE, price[i], figures.k, iterations[i]);
      price[i] = balanced.price_E;
      ASSERT_EQ(max_vio(balanced.count_E), 0.0);
      vio[i] += max_vio(expert_counts(topk_experts(scores_TE, price[i], figures.k), figures.num_experts)) / kBatches;
      ratio[i] += assignment_objective(scores_TE, balanced.expert_TK) / bound / kBatches;
    }
  }
  std::printf("%s: plain %.2f; dual %.3f %.3f %.3f; ratio %.6f %.6f %.6f\n", figures.name, plain_vio, vio[0], vio[1], vio[2],
              ratio[0], ratio[1], ratio[2]);
  EXPECT_GE(plain_vio, figures.plain_low);
  EXPECT_LE(plain_vio, figures.plain_high);
  EXPECT_LE(vio[0], figures.vio1_high);
  EXPECT_LE(vio[1], figures.vio2_high);
  EXPECT_LE(vio[2], figures.vio4_high);
  EXPECT_GT(vio[0], vio[1]);
  EXPECT_GT(vio[1], vio[2]);
  EXPECT_GE(ratio[0], figures.ratio1);
  EXPECT_GE(ratio[1], figures.ratio2);
  EXPECT_GE(ratio[2], figures.ratio4);
  EXPECT_LE(ratio[2], 1.0 + 1e-6);
}

// Ranges over five seeds of a separate implementation, with the spread of other seeds on top.
INSTANTIATE_TEST_SUITE_P(
    Cases, Synthetic,
    ::testing::Values(Figures{"16e_k4_softmax", 16, 4, true, 1.2, 3.1, 0.24, 0.13, 0.075, 0.9997, 0.99992, 0.99996},
                      Figures{"64e_k8_softmax", 64, 8, true, 2.9, 6.2, 0.36, 0.22, 0.11, 0.99975, 0.99991, 0.99995},
                      Figures{"64e_k8_sigmoid", 64, 8, false, 2.9, 6.2, 0.27, 0.12, 0.05, 0.99984, 0.99995, 0.99997}),
    [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace ballast::kernels
