#include "scheduler/policy/megatron_dcp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/scheduler/policy/policy_requests.h"

namespace ballast::scheduler {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

PlanRequest dcp_request(int num_ranks, std::vector<std::int64_t> lengths, bool planner_mode) {
  PlanRequest wanted = plan_request("megatron_dcp", std::move(lengths), 1, num_ranks);
  wanted.options.tokens_per_rank = 10;
  wanted.planner_mode = planner_mode;
  return wanted;
}

Ring ring(const Plan& plan, std::size_t micro_batch, std::size_t piece) {
  return std::get<Ring>(plan.micro_batches[micro_batch].work[piece]);
}

TEST(MegatronDcp, WhatFindsNoGroupWithTokensLeftWaits) {
  const Plan plan = make_plan(dcp_request(4, {20, 10, 9, 5}, true));
  ASSERT_EQ(plan.micro_batches.size(), 2u);
  EXPECT_EQ(ring(plan, 0, 0), (Ring{0, {0, 1}, {10, 10}}));
  EXPECT_EQ(ring(plan, 0, 1), (Ring{1, {2}, {10}}));
  EXPECT_EQ(ring(plan, 0, 2), (Ring{2, {3}, {9}}));
  EXPECT_EQ(ring(plan, 1, 0), (Ring{3, {0, 1, 2, 3}, {1, 1, 1, 2}}));  // alone, it doubles until no rank is free
}

TEST(MegatronDcp, TheLowestLargestLoadDecidesThenTheFirst) {
  // Limit of load 8 * 10 * 1.05 = 84. Two fives share rank 1 (25 + 25 < 64); the third finds no tokens anywhere.
  const Plan plan = make_plan(dcp_request(2, {8, 5, 5, 5}, true));
  ASSERT_EQ(plan.micro_batches.size(), 2u);
  EXPECT_THAT(plan.micro_batches[0].sequences, ElementsAre(0, 1, 2));
  EXPECT_EQ(ring(plan, 0, 1), (Ring{1, {1}, {5}}));
  EXPECT_EQ(ring(plan, 0, 2), (Ring{2, {1}, {5}}));
}

TEST(MegatronDcp, RanksThatNoDoublingFillsGiveOneGroupOfAll) {
  const Plan plan = make_plan(dcp_request(5, {20, 20}, true));  // two groups of two; the fifth rank is left
  ASSERT_EQ(plan.micro_batches.size(), 1u);
  EXPECT_EQ(ring(plan, 0, 0), (Ring{0, {0, 1, 2, 3, 4}, {4, 4, 4, 4, 4}}));
  EXPECT_EQ(ring(plan, 0, 1), (Ring{1, {0, 1, 2, 3, 4}, {4, 4, 4, 4, 4}}));
}

TEST(MegatronDcp, TrainingMergesMicroBatchesAndRefusesWhatThenBreaksTheCap) {
  PlanRequest wanted = dcp_request(2, {20, 10, 3}, false);  // 10 | 10, then 10 | 3
  const Plan plan = make_plan(wanted);
  ASSERT_EQ(plan.micro_batches.size(), 1u);
  EXPECT_EQ(ring(plan, 0, 0), (Ring{0, {0, 1}, {10, 10}}));
  EXPECT_EQ(ring(plan, 0, 1), (Ring{1, {0}, {10}}));
  EXPECT_EQ(ring(plan, 0, 2), (Ring{2, {1}, {3}}));
  wanted.options.token_cap_per_rank = 18;
  EXPECT_THAT(refusal_of(wanted),
              HasSubstr("policy megatron_dcp: rank 0 would hold 20 tokens of a micro-batch of 33 on 2 ranks, but "
                        "token_cap_per_rank is 18; its rule forms 2 micro-batches of this one"));
}

TEST(MegatronDcp, ASequenceBeyondTheBudgetOfAllRanksIsRefused) {
  EXPECT_THAT(refusal_of(dcp_request(2, {21}, false)),
              HasSubstr("sequence 0 of 21 tokens needs 3 ranks of 10 tokens, but there are 2"));
}

}  // namespace
}  // namespace ballast::scheduler
