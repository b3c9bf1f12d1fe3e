#include "scheduler/policy/megatron_dcp_main.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/scheduler/policy/policy_requests.h"

namespace ballast::scheduler {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

PlanRequest dcp_request(int num_ranks, std::vector<std::int64_t> lengths, bool planner_mode) {
  PlanRequest wanted = plan_request("megatron_dcp_main", std::move(lengths), 1, num_ranks);
  wanted.options.tokens_per_rank = 10;
  wanted.planner_mode = planner_mode;
  return wanted;
}

Ring ring(const Plan& plan, std::size_t micro_batch, std::size_t piece) {
  return std::get<Ring>(plan.micro_batches[micro_batch].work[piece]);
}

TEST(MegatronDcpMain, FreeRanksGoBeforeGroups) {
  const Plan plan = make_plan(dcp_request(4, {9, 20, 10}, true));
  EXPECT_EQ(ring(plan, 0, 0), (Ring{1, {0, 1}, {10, 10}}));
  EXPECT_EQ(ring(plan, 0, 1), (Ring{2, {2}, {10}}));
  EXPECT_EQ(ring(plan, 0, 2), (Ring{0, {3}, {9}}));
}

TEST(MegatronDcpMain, TheFirstSmallestGroupDoublesAndLaterOnesShift) {
  const Plan plan = make_plan(dcp_request(4, {4, 3}, true));
  EXPECT_EQ(ring(plan, 0, 0), (Ring{0, {0, 1}, {2, 2}}));
  EXPECT_EQ(ring(plan, 0, 1), (Ring{1, {2, 3}, {1, 2}}));
  const Plan odd = make_plan(dcp_request(5, {20, 20}, true));  // no doubling fits: the rank that is left joins the first
  EXPECT_EQ(ring(odd, 0, 0).ranks, (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(ring(odd, 0, 1).ranks, (std::vector<int>{3, 4}));
}

TEST(MegatronDcpMain, WhatNarrowsTheRangeIsPoppedForTheNextMicroBatch) {
  const Plan plan = make_plan(dcp_request(2, {10, 9, 8}, true));  // loads 100 | 81 + 64: without the 8 they are 19 apart, not 45
  ASSERT_EQ(plan.micro_batches.size(), 2u);
  EXPECT_THAT(plan.micro_batches[0].sequences, ElementsAre(0, 1));
  EXPECT_EQ(ring(plan, 1, 0), (Ring{2, {0, 1}, {4, 4}}));
}

TEST(MegatronDcpMain, LevelLoadsEndAMicroBatchOnceDegreesHaveFallen) {
  const Plan plan = make_plan(dcp_request(3, {20, 10, 10, 5}, true));  // 200 200 | 100 + 100: the 5 would fit, but waits
  ASSERT_EQ(plan.micro_batches.size(), 2u);
  EXPECT_THAT(plan.micro_batches[0].sequences, ElementsAre(0, 1, 2));
  EXPECT_EQ(ring(plan, 1, 0), (Ring{3, {0, 1, 2}, {1, 2, 2}}));
}

TEST(MegatronDcpMain, WithoutAGroupOfItsSizeOrFreeRanksASequenceWaits) {
  const Plan plan = make_plan(dcp_request(4, {20, 20, 10, 10}, true));
  ASSERT_EQ(plan.micro_batches.size(), 2u);
  EXPECT_THAT(plan.micro_batches[0].sequences, ElementsAre(0, 1));
  EXPECT_EQ(ring(plan, 1, 0).ranks, (std::vector<int>{0, 1}));
  EXPECT_EQ(ring(plan, 1, 1).ranks, (std::vector<int>{2, 3}));
}

TEST(MegatronDcpMain, HasNoTokenCapButInTrainingTheRequestHas) {
  PlanRequest wanted = dcp_request(2, std::vector<std::int64_t>(12, 7), true);
  wanted.options.token_cap_per_rank = 41;
  const Plan plan = make_plan(wanted);
  ASSERT_EQ(plan.micro_batches.size(), 1u);
  EXPECT_EQ(plan.micro_batches[0].homes[0].size(), 6u);  // 42 tokens
  wanted.options.token_cap_per_rank = 42;
  wanted.planner_mode = false;
  EXPECT_EQ(refusal_of(wanted), "no error");
  PlanRequest tight = dcp_request(2, {10, 9, 8}, false);
  tight.options.token_cap_per_rank = 14;
  EXPECT_EQ(make_plan(tight).micro_batches.size(), 1u);
  tight.options.token_cap_per_rank = 13;
  EXPECT_THAT(refusal_of(tight), HasSubstr("policy megatron_dcp_main: a micro-batch of 27 tokens"));
}

}  // namespace
}  // namespace ballast::scheduler
