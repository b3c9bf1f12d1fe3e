// Routers, gate weights and rows. One file: what includes torch is mirrored by folder.
#include "runtime/model/router/router.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <random>

#include "kernels/balance/balance.h"
#include "runtime/model/router/routing.h"

namespace ballast::model {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::Le;

std::vector<std::int64_t> to_vector(const at::Tensor& values) {
  const std::int64_t* data = values.const_data_ptr<std::int64_t>();
  return {data, data + values.numel()};
}

/// Scores in (0, 1), some experts hotter than others.
at::Tensor skewed_scores(std::int64_t num_tokens, std::int64_t num_experts, std::uint64_t seed,
                         at::ScalarType type = at::kDouble) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  at::Tensor scores_TE = at::empty({num_tokens, num_experts}, at::kDouble);
  double* score = scores_TE.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < scores_TE.numel(); ++i) {
    const double hotness = 1.5 * static_cast<double>(i % num_experts) / static_cast<double>(num_experts);
    score[i] = 1.0 / (1.0 + std::exp(-normal(random) - hotness));
  }
  return scores_TE.to(type);
}

template <class Error>
std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing thrown";
}

RouterOptions options_of(const std::string& name, std::int64_t num_experts = 8, std::int64_t k = 2,
                         at::ScalarType type = at::kDouble) {
  RouterOptions options;
  options.name = name;
  options.layer = 3;
  options.num_experts = num_experts;
  options.experts_per_token = k;
  options.dtype = type;
  return options;
}

std::vector<at::Tensor> copy_of_state(Router& router) {
  std::vector<at::Tensor> tensors;
  for (const RouterState& state : router.state()) tensors.push_back(state.tensor.clone());
  return tensors;
}
void expect_equal(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(a[i].equal(b[i]));
}

// What every router keeps.

class AnyRouter : public ::testing::TestWithParam<const char*> {};

TEST_P(AnyRouter, GivesEveryTokenItsExperts) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    for (const auto& [num_tokens, num_experts, k] : {std::tuple{0L, 8L, 2L}, std::tuple{1L, 8L, 2L}, std::tuple{3L, 64L, 1L},
                                                     std::tuple{101L, 7L, 3L}, std::tuple{50L, 4L, 4L}, std::tuple{9L, 1L, 1L}}) {
      const auto router = make_router(options_of(GetParam(), num_experts, k, type));
      for (const RouterMode mode : {RouterMode::kTrain, RouterMode::kEvaluate}) {
        const Assignment assignment = router->assign(skewed_scores(num_tokens, num_experts, 1, type), mode);
        ASSERT_THAT(assignment.expert_TK.sizes(), ElementsAre(num_tokens, k));
        ASSERT_TRUE(assignment.count_E.equal(kernels::expert_counts(assignment.expert_TK, num_experts)));
        const std::vector<std::int64_t> expert = to_vector(assignment.expert_TK);
        for (std::size_t slot = 0; slot < expert.size(); ++slot) {
          ASSERT_TRUE(slot % static_cast<std::size_t>(k) == 0 || expert[slot - 1] < expert[slot]) << "ascending, hence distinct";
        }
      }
    }
  }
}

TEST_P(AnyRouter, ChangesOnlyByCommit) {
  const auto router = make_router(options_of(GetParam()));
  const at::Tensor probe_TE = skewed_scores(64, 8, 99);
  for (std::int64_t step = 0; step < 3; ++step) {
    const std::vector<at::Tensor> before = copy_of_state(*router);
    const at::Tensor evaluated_TK = router->assign(probe_TE, RouterMode::kEvaluate).expert_TK;
    router->assign(skewed_scores(64, 8, static_cast<std::uint64_t>(step)), RouterMode::kTrain);
    router->assign(skewed_scores(40, 8, static_cast<std::uint64_t>(step) + 10), RouterMode::kTrain);
    expect_equal(copy_of_state(*router), before);
    EXPECT_TRUE(router->assign(probe_TE, RouterMode::kEvaluate).expert_TK.equal(evaluated_TK));
    router->commit(step);
  }
  // A step that is abandoned leaves nothing behind, and a commit without micro-batches does nothing.
  const std::vector<at::Tensor> committed = copy_of_state(*router);
  const at::Tensor next_TK = router->assign(probe_TE, RouterMode::kTrain).expert_TK;
  router->discard();
  EXPECT_TRUE(router->assign(probe_TE, RouterMode::kTrain).expert_TK.equal(next_TK));
  router->discard();
  router->commit(3);
  expect_equal(copy_of_state(*router), committed);
}

TEST_P(AnyRouter, ContinuesFromLoadedState) {
  const auto router = make_router(options_of(GetParam())), other = make_router(options_of(GetParam()));
  for (std::int64_t step = 0; step < 5; ++step) {
    if (step == 3) {
      const std::vector<at::Tensor> saved = copy_of_state(*router);
      const std::vector<RouterState> into = other->state();
      for (std::size_t i = 0; i < into.size(); ++i) into[i].tensor.copy_(saved[i]);
    }
    const at::Tensor scores_TE = skewed_scores(64, 8, static_cast<std::uint64_t>(step));
    const at::Tensor expert_TK = router->assign(scores_TE, RouterMode::kTrain).expert_TK;
    router->commit(step);
    if (step < 3) continue;
    EXPECT_TRUE(other->assign(scores_TE, RouterMode::kTrain).expert_TK.equal(expert_TK));
    other->commit(step);
    expect_equal(copy_of_state(*other), copy_of_state(*router));
  }
}

TEST_P(AnyRouter, EvaluatesEachTokenForItselfByTheFrozenBias) {
  const auto router = make_router(options_of(GetParam()));
  for (std::int64_t step = 0; step < 4; ++step) {
    router->assign(skewed_scores(128, 8, static_cast<std::uint64_t>(step)), RouterMode::kTrain);
    router->commit(step);
  }
  const at::Tensor scores_TE = skewed_scores(50, 8, 77);
  const at::Tensor all_TK = router->assign(scores_TE, RouterMode::kEvaluate).expert_TK;
  const at::Tensor best_TK = std::get<0>(std::get<1>((scores_TE + router->frozen_bias()).topk(2, 1)).sort(1));
  EXPECT_TRUE(all_TK.equal(best_TK));
  for (std::int64_t i = 0; i < 50; ++i) {
    EXPECT_TRUE(router->assign(scores_TE.narrow(0, i, 1), RouterMode::kEvaluate).expert_TK.equal(all_TK.narrow(0, i, 1)));
  }
}

TEST_P(AnyRouter, RefusesWrongScores) {
  const auto router = make_router(options_of(GetParam()));
  EXPECT_THAT(message_of<std::invalid_argument>([&] { router->assign(skewed_scores(5, 7, 1), RouterMode::kTrain); }),
              HasSubstr("router of layer 3: scores are Double[5, 7]; Double[tokens, 8] wanted"));
  EXPECT_THAT(message_of<std::invalid_argument>([&] { router->assign(skewed_scores(5, 8, 1, at::kFloat), RouterMode::kTrain); }),
              HasSubstr("router of layer 3: scores are Float[5, 8]"));
  for (const RouterMode mode : {RouterMode::kTrain, RouterMode::kEvaluate}) {
    at::Tensor scores_TE = skewed_scores(5, 8, 1);
    scores_TE.mutable_data_ptr<double>()[17] = std::numeric_limits<double>::quiet_NaN();
    EXPECT_THAT(message_of<std::runtime_error>([&] { router->assign(scores_TE, mode); }),
                AllOf(HasSubstr("router of layer 3"), HasSubstr("token 2 (of 5) for expert 1 (of 8) is nan")));
  }
}

INSTANTIATE_TEST_SUITE_P(Registry, AnyRouter, ::testing::ValuesIn(router_names().begin(), router_names().end()),
                         [](const auto& test) { return std::string(test.param); });

TEST(MakeRouter, AnswersAnUnknownNameWithTheKnownOnes) {
  EXPECT_THAT(message_of<std::invalid_argument>([] { make_router(options_of("topp")); }),
              HasSubstr("model.router.name is 'topp'; known routers: topk, bip_exact"));
  EXPECT_THAT(message_of<std::invalid_argument>([] { make_router(options_of("topk", 4, 5)); }),
              HasSubstr("model.experts_per_token is 5 with model.num_experts 4"));
  RouterOptions options = options_of("bip_exact");
  options.iterations = 0;
  EXPECT_THAT(message_of<std::invalid_argument>([&] { make_router(options); }), HasSubstr("model.router.iterations is 0"));
  options = options_of("bip_exact");
  options.ema_decay = 1.5;
  EXPECT_THAT(message_of<std::invalid_argument>([&] { make_router(options); }), HasSubstr("model.router.ema_decay is 1.5"));
}

TEST(TopkRouter, KeepsAZeroBias) {
  const auto router = make_router(options_of("topk"));
  router->assign(skewed_scores(64, 8, 1), RouterMode::kTrain);
  router->commit(0);
  EXPECT_TRUE(router->frozen_bias().equal(at::zeros({8}, at::kDouble)));
}

TEST(BipExactRouter, BalancesEveryMicroBatchFromTheFirst) {
  const auto router = make_router(options_of("bip_exact"));
  for (std::int64_t step = 0; step < 4; ++step) {
    for (const std::int64_t num_tokens : {64, 100, 33}) {
      const Assignment assignment =
          router->assign(skewed_scores(num_tokens, 8, static_cast<std::uint64_t>(100 * step + num_tokens)), RouterMode::kTrain);
      const std::int64_t least = num_tokens * 2 / 8, most = (num_tokens * 2 + 7) / 8;
      EXPECT_THAT(to_vector(assignment.count_E), Each(AllOf(Ge(least), Le(most))));
    }
    router->commit(step);
  }
}

TEST(BipExactRouter, CarriesPricesAcrossMicroBatchesAndAveragesSteps) {
  RouterOptions options = options_of("bip_exact");
  options.ema_decay = 0.5;
  const auto router = make_router(options);
  const auto solve = [&](const at::Tensor& scores_TE, const at::Tensor& start_E) {
    return kernels::balanced_assignment(scores_TE, start_E, 2, options.iterations);
  };
  const at::Tensor first_TE = skewed_scores(60, 8, 1), second_TE = skewed_scores(20, 8, 2), third_TE = skewed_scores(60, 8, 3);
  const at::Tensor one_E = solve(first_TE, at::zeros({8}, at::kDouble)).price_E;
  const kernels::Balanced two = solve(second_TE, one_E);
  const kernels::Balanced three = solve(third_TE, two.price_E);

  router->assign(first_TE, RouterMode::kTrain);
  EXPECT_TRUE(router->assign(second_TE, RouterMode::kTrain).expert_TK.equal(two.expert_TK));
  router->commit(0);
  const at::Tensor step0_E = (60.0 * one_E + 20.0 * two.price_E) / 80.0;
  EXPECT_TRUE(router->frozen_bias().allclose(-step0_E, 0, 1e-15));

  EXPECT_TRUE(router->assign(third_TE, RouterMode::kTrain).expert_TK.equal(three.expert_TK));
  router->commit(1);
  EXPECT_TRUE(router->frozen_bias().allclose(-0.5 * (step0_E + three.price_E), 0, 1e-15));
}

TEST(BipExactRouter, FrozenBiasNearlyBalancesScoresLikeThoseItSaw) {
  const auto router = make_router(options_of("bip_exact"));
  for (std::int64_t step = 0; step < 10; ++step) {
    router->assign(skewed_scores(2048, 8, static_cast<std::uint64_t>(step)), RouterMode::kTrain);
    router->commit(step);
  }
  const at::Tensor scores_TE = skewed_scores(2048, 8, 500);
  const at::Tensor frozen_E = router->assign(scores_TE, RouterMode::kEvaluate).count_E;
  const at::Tensor plain_E = make_router(options_of("topk"))->assign(scores_TE, RouterMode::kEvaluate).count_E;
  EXPECT_LT(frozen_E.max().item<std::int64_t>(), 512 * 1.15);
  EXPECT_GT(plain_E.max().item<std::int64_t>(), 512 * 1.5);
}

// Between choice and experts.

TEST(GateWeights, FollowTheFormula) {
  const at::Tensor scores_TE = at::tensor({0.2, 0.6, 0.3, 0.1, 0.5, 0.9}, at::kDouble).view({2, 3});
  const at::Tensor expert_TK = at::tensor({1, 2, 0, 2}, at::kLong).view({2, 2});
  EXPECT_TRUE(gate_weights(scores_TE, expert_TK, {.use_normalized = false, .scaling_factor = 2.0})
                  .allclose(at::tensor({1.2, 0.6, 0.2, 1.8}, at::kDouble).view({2, 2})));
  EXPECT_TRUE(gate_weights(scores_TE, expert_TK, {.use_normalized = true, .scaling_factor = 2.0})
                  .allclose(at::tensor({1.2 / 0.9, 0.6 / 0.9, 0.2, 1.8}, at::kDouble).view({2, 2})));
  const at::Tensor pair_TK = at::tensor({0, 1}, at::kLong).view({1, 2});
  EXPECT_TRUE(gate_weights(at::zeros({1, 3}, at::kFloat), pair_TK, {}).equal(at::zeros({1, 2}, at::kFloat)))
      << "no division by zero";
}

/// Largest difference between `gradient` and central differences of f by the elements of `values`.
double gradient_error(const std::function<double()>& f, const at::Tensor& values, const at::Tensor& gradient) {
  constexpr double kStep = 1e-6;
  const at::Tensor flat_gradient = gradient.contiguous();
  double worst = 0;
  double* value = values.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < values.numel(); ++i) {
    const double old = value[i];
    value[i] = old + kStep;
    const double above = f();
    value[i] = old - kStep;
    const double below = f();
    value[i] = old;
    worst = std::max(worst, std::abs((above - below) / (2 * kStep) - flat_gradient.const_data_ptr<double>()[i]));
  }
  return worst;
}

TEST(GateWeights, BackwardIsTheGradient) {
  const at::Tensor scores_TE = skewed_scores(6, 5, 4);
  const at::Tensor expert_TK = kernels::topk_experts(scores_TE, at::zeros({5}, at::kDouble), 3);
  const at::Tensor dweight_TK = skewed_scores(6, 3, 5);
  for (const bool use_normalized : {false, true}) {
    const GateOptions options{use_normalized, 1.7};
    const auto loss = [&] { return (gate_weights(scores_TE, expert_TK, options) * dweight_TK).sum().item<double>(); };
    EXPECT_LT(gradient_error(loss, scores_TE, gate_weights_backward(dweight_TK, scores_TE, expert_TK, options)), 1e-8);
  }
}

TEST(RouterScores, BackwardIsTheGradient) {
  const at::Tensor x_TD = skewed_scores(6, 4, 6) - 0.5, weight_ED = skewed_scores(5, 4, 7) - 0.5,
                   dscores_TE = skewed_scores(6, 5, 8);
  const auto loss = [&] { return (router_scores(x_TD, weight_ED) * dscores_TE).sum().item<double>(); };
  const at::Tensor dlogits_TE = router_scores_backward(dscores_TE, router_scores(x_TD, weight_ED));
  EXPECT_LT(gradient_error(loss, x_TD, dlogits_TE.mm(weight_ED)), 1e-8);
  EXPECT_LT(gradient_error(loss, weight_ED, dlogits_TE.t().mm(x_TD)), 1e-8);
}

TEST(SortByExpert, OrdersByExpertThenToken) {
  const at::Tensor expert_TK = at::tensor({0, 2, 1, 2, 0, 1}, at::kLong).view({3, 2});
  const at::Tensor weight_TK = at::tensor({0.1, 0.2, 0.3, 0.4, 0.5, 0.6}, at::kDouble).view({3, 2});
  const Routing routing = sort_by_expert(expert_TK, weight_TK, 4);
  EXPECT_THAT(to_vector(routing.row_expert_R), ElementsAre(0, 0, 1, 1, 2, 2));
  EXPECT_THAT(to_vector(routing.row_token_R), ElementsAre(0, 2, 1, 2, 0, 1));
  EXPECT_THAT(to_vector(routing.row_slot_R), ElementsAre(0, 4, 2, 5, 1, 3));
  EXPECT_THAT(to_vector(routing.count_E), ElementsAre(2, 2, 2, 0));
  EXPECT_TRUE(routing.row_weight_R.equal(at::tensor({0.1, 0.5, 0.3, 0.6, 0.2, 0.4}, at::kDouble)));
  EXPECT_TRUE(sort_by_expert_backward(routing.row_weight_R, routing.row_slot_R, 2).equal(weight_TK));
  const Routing empty = sort_by_expert(expert_TK.narrow(0, 0, 0), weight_TK.narrow(0, 0, 0), 4);
  EXPECT_THAT(to_vector(empty.count_E), Each(0));
  EXPECT_THAT(sort_by_expert_backward(empty.row_weight_R, empty.row_slot_R, 2).sizes(), ElementsAre(0, 2));
}

}  // namespace
}  // namespace ballast::model
