#include "scheduler/sim/planner_benchmark.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ballast::scheduler {
namespace {

PlanRequest request(const char* policy, std::vector<std::int64_t> lengths) {
  PlanRequest request;
  request.lengths = std::move(lengths);
  request.topology = uniform_topology(2, {.num_ranks = 2, .nic_of_rank = {}, .nics_per_rank = {}});
  request.model.vocab_size = 100;
  request.model.hidden_size = 64;
  request.model.num_layers = 4;
  request.model.num_attention_heads = 4;
  request.model.num_key_value_heads = 4;
  request.model.head_dim = 16;
  request.model.intermediate_size = 128;
  request.options.policy = policy;
  request.options.tokens_per_rank = 100;
  return request;
}

TEST(PlannerBenchmark, EqualWholeSequencesMeetTheBound) {
  const PlannerScore score = score_planner(request("longest_first", {100, 100, 100, 100}));
  EXPECT_NEAR(score.makespan_over_strict_bound, 1, 1e-6);
  EXPECT_NEAR(score.makespan_over_strict_bound_attention_overlap_only, 1, 1e-6);
  EXPECT_NEAR(score.makespan_over_best_bound, 1, 1e-6);
  EXPECT_NEAR(score.imbalance_full, 1, 1e-6);
  EXPECT_EQ(score.tokens_max_over_budget, 1);
  EXPECT_EQ(score.exposed_communication_fraction, 0);
  EXPECT_EQ(score.num_micro_batches, 1);
  EXPECT_TRUE(score.is_exact);
  EXPECT_EQ(score.simulated_layers, 4);
  EXPECT_EQ(score.refusal, "");
}

TEST(PlannerBenchmark, OneLongSequenceLeavesThreeRanksIdle) {
  const PlannerScore score = score_planner(request("longest_first", {400}));
  EXPECT_NEAR(score.makespan_over_strict_bound, 4, 1e-6);
  EXPECT_NEAR(score.imbalance_full, 4, 1e-6);
  EXPECT_EQ(score.tokens_max_over_budget, 4);
}

TEST(PlannerBenchmark, RingsPayForTheirMessages) {
  const PlannerScore score = score_planner(request("te_cp", {400}));
  EXPECT_LT(score.imbalance_full, 1.01);
  EXPECT_GT(score.makespan_over_strict_bound, 1);
  EXPECT_GT(score.makespan_over_strict_bound_attention_overlap_only, 1.01);
  EXPECT_GT(score.exposed_communication_fraction, 0);
  EXPECT_LE(score.makespan_over_strict_bound, score.makespan_over_strict_bound_attention_overlap_only + 1e-12);
}

TEST(PlannerBenchmark, SaysThatRoundsOfALargeRingAreEstimated) {
  PlanRequest large = request("te_cp", {13600});
  large.topology = uniform_topology(68, {.num_ranks = 2, .nic_of_rank = {}, .nics_per_rank = {}});
  EXPECT_FALSE(score_planner(large).is_exact);
  large.topology = resized(large.topology, 8);
  EXPECT_TRUE(score_planner(large).is_exact);
}

TEST(PlannerBenchmark, DirectMessagesStayOnOneCard) {
  PlanRequest wanted = request("zeppelin", {400000});
  wanted.topology = uniform_topology(2, {.num_ranks = 4, .num_nics = 4, .nic_of_rank = {}, .nics_per_rank = {}});
  wanted.options.tokens_per_rank = 50000;
  wanted.options.token_cap_per_rank = 50000;
  wanted.topology.attention_flops_per_second = wanted.topology.linear_flops_per_second = 1e16;
  const double routed = score_planner(wanted).makespan_seconds;
  wanted.options.is_routed = false;
  EXPECT_GT(score_planner(wanted).makespan_seconds, 1.5 * routed);
}

TEST(PlannerBenchmark, APlanThatComesAgainIsWorthTheSame) {
  const auto expect_same = [](const PlannerScore& kept, const PlannerScore& fresh) {
    EXPECT_EQ(kept.makespan_seconds, fresh.makespan_seconds);
    EXPECT_EQ(kept.makespan_seconds_attention_overlap_only, fresh.makespan_seconds_attention_overlap_only);
    EXPECT_EQ(kept.makespan_over_strict_bound, fresh.makespan_over_strict_bound);
    EXPECT_EQ(kept.makespan_over_best_bound, fresh.makespan_over_best_bound);
    EXPECT_EQ(kept.exposed_communication_fraction, fresh.exposed_communication_fraction);
    EXPECT_EQ(kept.is_exact, fresh.is_exact);
    EXPECT_EQ(kept.simulated_layers, fresh.simulated_layers);
  };
  PlannerBenchmark benchmark;
  PlanRequest wanted = request("te_cp", {300, 100});
  const double first_seconds = benchmark.score(wanted).seconds;
  wanted.options.token_cap_per_rank = 200;  // the bound knows it, the plan does not
  const PlannerScore capped = benchmark.score(wanted);
  expect_same(capped, score_planner(wanted));
  EXPECT_GT(first_seconds, 0);
  EXPECT_GE(capped.seconds, capped.planning_seconds);
  // Other messages, another model, another batch: nothing is kept of those before.
  wanted.topology.message_seconds *= 100;
  expect_same(benchmark.score(wanted), score_planner(wanted));
  EXPECT_NE(score_planner(wanted).makespan_seconds, capped.makespan_seconds);
  wanted.model.hidden_size *= 2;
  expect_same(benchmark.score(wanted), score_planner(wanted));
  wanted.lengths = {200, 200};
  expect_same(benchmark.score(wanted), score_planner(wanted));
}

TEST(PlannerBenchmark, SaysWhyThereIsNoPlanOrNoSimulation) {
  PlanRequest capped = request("longest_first", {400});
  capped.options.token_cap_per_rank = 110;
  const PlannerScore refused = score_planner(capped);
  EXPECT_THAT(refused.refusal, ::testing::HasSubstr("token_cap_per_rank 110"));
  EXPECT_EQ(refused.makespan_over_strict_bound, 0);
  const PlannerScore large = PlannerBenchmark(15).score(request("te_cp", {400}));
  EXPECT_THAT(large.refusal, ::testing::HasSubstr("16 steps"));
  EXPECT_LT(large.imbalance_full, 1.01);
  EXPECT_EQ(large.makespan_over_strict_bound, 0);
  PlanRequest endless = request("te_cp", {400});
  endless.topology.message_seconds = endless.topology.inter_node_message_seconds = 1e12;
  const PlannerScore timeless = score_planner(endless);
  EXPECT_THAT(timeless.refusal, ::testing::HasSubstr("not simulated: simulation: "));
  EXPECT_EQ(timeless.makespan_over_strict_bound, 0);
  EXPECT_LT(timeless.imbalance_full, 1.01);
  // Sequences that are padded to the same chunks of one ring are one.
  EXPECT_EQ(PlannerBenchmark(16).score(request("te_cp", {200, 200})).refusal, "");
  EXPECT_THAT(PlannerBenchmark(15).score(request("te_cp", {200, 200})).refusal, ::testing::HasSubstr("16 steps"));
}

}  // namespace
}  // namespace ballast::scheduler
