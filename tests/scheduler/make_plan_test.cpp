#include "scheduler/make_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <limits>

#include "scheduler/cost/rank_load.h"
#include "scheduler/cost/seconds.h"

namespace ballast::scheduler {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

ModelShape tiny_model() {
  ModelShape model;
  model.vocab_size = 264;
  model.hidden_size = 32;
  model.num_layers = 2;
  model.num_attention_heads = 4;
  model.num_key_value_heads = 2;
  model.head_dim = 8;
  model.intermediate_size = 64;
  model.num_dense_layers = 2;
  return model;
}

PlanRequest request(std::vector<std::int64_t> lengths, int num_ranks, const std::string& policy = "longest_first") {
  PlanRequest result;
  result.lengths = std::move(lengths);
  Node node;
  node.num_ranks = num_ranks;
  result.topology = uniform_topology(1, node);
  result.model = tiny_model();
  result.options.policy = policy;
  return result;
}

std::string message_of(const PlanRequest& wanted) {
  try {
    make_plan(wanted);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "no error";
}

TEST(MakePlan, CutsMicroBatchesAsRuns) {
  EXPECT_EQ(micro_batch_runs({5, 5, 1, 12, 3}, 10), (std::vector<std::vector<std::int64_t>>{{0, 1}, {2}, {3}, {4}}));
  EXPECT_EQ(micro_batch_runs({5, 5}, 0), (std::vector<std::vector<std::int64_t>>{{0, 1}}));
  EXPECT_EQ(micro_batch_runs({}, 10), (std::vector<std::vector<std::int64_t>>{{}}));
}

TEST(MakePlan, WorkedExampleLongestFirst) {
  const Plan plan = make_plan(request({3, 9, 4, 4}, 2));
  ASSERT_EQ(plan.micro_batches.size(), 1u);
  EXPECT_THAT(plan.micro_batches[0].homes[0], ElementsAre(Chunk{1, 0, 9}));
  EXPECT_THAT(plan.micro_batches[0].homes[1], ElementsAre(Chunk{2, 0, 4}, Chunk{3, 0, 4}, Chunk{0, 0, 3}));
}

TEST(MakePlan, WorkedExampleSequential) {
  // Budget ceil(20 / 2) = 10: packs {3, 4}, {9}, {4}; the third goes round to rank 0, the fourth is popped off the first pack.
  const Plan plan = make_plan(request({3, 4, 9, 4}, 2, "sequential"));
  EXPECT_THAT(plan.micro_batches[0].homes[0], ElementsAre(Chunk{0, 0, 3}, Chunk{3, 0, 4}));
  EXPECT_THAT(plan.micro_batches[0].homes[1], ElementsAre(Chunk{2, 0, 9}, Chunk{1, 0, 4}));
}

TEST(MakePlan, RefusesWithNumbers) {
  PlanRequest negative = request({1}, 1);
  negative.options.tokens_per_rank = -1;
  EXPECT_THAT(message_of(negative), HasSubstr("tokens_per_rank -1 must not be negative"));
  PlanRequest long_one = request({30}, 4);
  long_one.options.token_cap_per_rank = 12;
  EXPECT_THAT(message_of(long_one), HasSubstr("no rank has room for sequence 0 of 30 tokens"));
  EXPECT_THAT(message_of(request({1}, 1, "longest")), HasSubstr("unknown policy 'longest'; known: sequential, longest_first, "));
  EXPECT_THAT(message_of(request({4, 0}, 1)), HasSubstr("sequence 1 has 0 tokens"));
  const std::int64_t half = kMostTokens / 2;
  EXPECT_THAT(
      message_of(request({half, half, 1}, 1)),
      HasSubstr("sequence 2 has 1 tokens after 2147483648 of the others; wanted at least 1, and at most 2147483648 in all"));
  EXPECT_THAT(message_of(request({4, std::numeric_limits<std::int64_t>::max()}, 1)), HasSubstr("wanted at least 1, and at most"));
}

TEST(MakePlan, RefusesToSendFromANodeWithoutCards) {
  PlanRequest wanted = request({40, 8, 8, 8}, 4, "te_cp");
  Node with, without;
  with.num_ranks = without.num_ranks = 2;
  without.num_nics = 0;
  wanted.topology.nodes = {with, without};
  number_ranks(wanted.topology);
  const std::string refusal =
      "micro-batch 0 gives sequence 0 to rank 2 of node 1 and rank 1 of node 0, but node 1 has no network card; give it num_nics";
  EXPECT_THAT(message_of(wanted), HasSubstr("policy te_cp: " + refusal));
  EXPECT_THROW(make_plan(wanted), InfeasiblePlan);
  wanted.options.policy = "longest_first";
  EXPECT_EQ(message_of(wanted), "no error");
  wanted.options.remap = Remap::kNode;
  EXPECT_EQ(message_of(wanted), "no error");
  wanted.options.remap = Remap::kCluster;
  EXPECT_THAT(message_of(wanted), HasSubstr("policy longest_first: micro-batch 0 gives sequence 0 to rank 2 of node 1"));
}

TEST(MakePlan, LargestNumbersCountRight) {
  for (const char* policy : {"distca", "te_cp", "wlb", "zeppelin", "ballast"}) {
    PlanRequest wanted = request({kMostTokens - 10, 7, 3}, 2, policy);
    wanted.options.token_cap_per_rank = wanted.options.tokens_per_rank = std::numeric_limits<std::int64_t>::max();
    const Plan plan = make_plan(wanted);
    const PlanLoad load = plan_load(plan, wanted.model, wanted.topology);
    const double pairs = static_cast<double>(kMostTokens) * static_cast<double>(kMostTokens) / 2;
    const double seconds = load.ranks[0].attention_seconds + load.ranks[1].attention_seconds;
    EXPECT_NEAR(seconds / (pairs * cost_rates(wanted.model, wanted.topology).pair_seconds), 1, 1e-6) << policy;
  }
}

TEST(MakePlan, RoutingIsThePolicysUnlessAskedFor) {
  PlanRequest wanted = request({9, 4}, 2, "zeppelin");
  EXPECT_TRUE(make_plan(wanted).is_routed);
  wanted.options.is_routed = false;
  EXPECT_FALSE(make_plan(wanted).is_routed);
  wanted = request({9, 4}, 2, "te_cp");
  EXPECT_FALSE(make_plan(wanted).is_routed);
  wanted.options.is_routed = true;
  EXPECT_TRUE(make_plan(wanted).is_routed);
}

TEST(MakePlan, PlannerModeLetsThePolicyFormMicroBatches) {
  PlanRequest wanted = request({5, 20, 5, 10, 6}, 2, "hybrid_dp");
  wanted.options.tokens_per_micro_batch = 20;
  const Plan training = make_plan(wanted);
  ASSERT_EQ(training.micro_batches.size(), 4u);
  EXPECT_THAT(training.micro_batches[0].sequences, ElementsAre(0));
  EXPECT_THAT(training.micro_batches[2].sequences, ElementsAre(2, 3));
  wanted.planner_mode = true;
  const Plan formed = make_plan(wanted);  // 10 tokens on each rank at a time
  ASSERT_EQ(formed.micro_batches.size(), 3u);
  EXPECT_THAT(formed.micro_batches[0].sequences, ElementsAre(1));
  EXPECT_THAT(formed.micro_batches[1].sequences, ElementsAre(3, 4));
  EXPECT_THAT(formed.micro_batches[2].sequences, ElementsAre(0, 2));
  EXPECT_EQ(formed.ranks[0].size(), 9u);    // forward and backward of three, then reduce, update and gather
  wanted.options.policy = "longest_first";  // only places
  EXPECT_EQ(make_plan(wanted).micro_batches.size(), 4u);
}

TEST(MakePlan, LongestFirstIsNearTheBruteForceOptimum) {
  EXPECT_TRUE(rc::check("longest first is within 4/3 of the best assignment of whole sequences (Graham's bound)", [] {
    const auto lengths = *rc::gen::container<std::vector<std::int64_t>>(6, rc::gen::inRange<std::int64_t>(1, 40));
    const auto square = [](std::int64_t n) { return static_cast<double>(n * n); };
    PlanRequest wanted = request(lengths, 3);
    wanted.topology.linear_flops_per_second = 1e30;  // only attention counts
    const Plan plan = make_plan(wanted);
    double got = 0;
    for (const auto& home : plan.micro_batches[0].homes) {
      double load = 0;
      for (const Chunk& chunk : home) load += square(chunk.end) + static_cast<double>(chunk.end);
      got = std::max(got, load);
    }
    double best = 1e30;
    for (int code = 0; code < 729; ++code) {
      double load[3] = {0, 0, 0};
      for (int i = 0, rest = code; i < 6; ++i, rest /= 3) load[rest % 3] += square(lengths[i]) + static_cast<double>(lengths[i]);
      best = std::min(best, *std::max_element(load, load + 3));
    }
    RC_ASSERT(got <= best * 4 / 3 + 1e-9);
  }));
}

}  // namespace
}  // namespace ballast::scheduler
