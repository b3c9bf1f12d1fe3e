#include "scheduler/make_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/scheduler/small_model.h"

#include <limits>

#include "scheduler/cost/rank_load.h"
#include "scheduler/cost/seconds.h"

namespace ballast::scheduler {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

PlanRequest request(std::vector<std::int64_t> lengths, int num_ranks, const std::string& policy = "longest_first") {
  PlanRequest result;
  result.lengths = std::move(lengths);
  Node node;
  node.num_ranks = num_ranks;
  result.topology = uniform_topology(1, node);
  result.model = small_model();
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

TEST(MakePlan, RefusesWithNumbers) {
  PlanRequest negative = request({1}, 1);
  negative.options.tokens_per_rank = -1;
  EXPECT_THAT(message_of(negative), HasSubstr("tokens_per_rank -1 must not be negative"));
  EXPECT_THAT(message_of(request({1}, 1, "longest")),
              HasSubstr("unknown policy 'longest'; known: sequential, dp_balanced, longest_first, "));
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

}  // namespace
}  // namespace ballast::scheduler
