#include "scheduler/policy/hybrid_dp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/scheduler/policy/policy_requests.h"

namespace ballast::scheduler {
namespace {

using testing::HasSubstr;

/// Only attention counts, so that times can be told by hand: a sequence of s tokens is s * (s + 1) / 2.
PlanRequest attention_request(int num_ranks, std::vector<std::int64_t> lengths) {
  PlanRequest wanted = plan_request("hybrid_dp", std::move(lengths), 1, num_ranks);
  wanted.topology.linear_flops_per_second = 1e30;
  return wanted;
}

Ring ring(const Plan& plan, std::size_t piece, std::size_t micro_batch = 0) {
  return std::get<Ring>(plan.micro_batches[micro_batch].work[piece]);
}

TEST(HybridDp, DegreesAreAnyIntegerAndTheLeastLoadedRanksAreTargets) {
  // 40 tokens on 5 ranks: capacity 8. Times after 21, 8 and 7 tokens: 77, 77, 77, 36, 28.
  const Plan plan = make_plan(attention_request(5, {4, 7, 21, 8}));
  EXPECT_EQ(ring(plan, 0), (Ring{2, {0, 1, 2}, {7, 7, 7}}));
  EXPECT_EQ(ring(plan, 1), (Ring{3, {3}, {8}}));
  EXPECT_EQ(ring(plan, 2), (Ring{1, {4}, {7}}));
  EXPECT_EQ(ring(plan, 3), (Ring{0, {4}, {4}}));
}

TEST(HybridDp, WhereTargetsAreTooFewAllRanksAreAndNeighboursAreTaken) {
  // 30 tokens leave only rank 3 more than 5 % below the longest time; of the pairs of neighbours all have the same largest one.
  PlanRequest wanted = attention_request(4, {20, 30});
  wanted.options.tokens_per_rank = 10;
  const Plan plan = make_plan(wanted);
  EXPECT_EQ(ring(plan, 0).ranks, (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(ring(plan, 1).ranks, (std::vector<int>{0, 1}));
}

TEST(HybridDp, MicroBatchesOfARankHoldItsCapacity) {
  PlanRequest wanted = attention_request(2, {20, 10, 6, 5, 5});
  wanted.options.tokens_per_rank = 10;
  wanted.options.token_cap_per_rank = 10;
  wanted.planner_mode = true;
  const Plan plan = make_plan(wanted);
  ASSERT_EQ(plan.micro_batches.size(), 3u);
  EXPECT_EQ(ring(plan, 0, 0), (Ring{0, {0, 1}, {10, 10}}));
  EXPECT_EQ(ring(plan, 0, 1), (Ring{1, {0}, {10}}));
  EXPECT_EQ(ring(plan, 1, 1), (Ring{2, {1}, {6}}));
  EXPECT_EQ(ring(plan, 0, 2), (Ring{3, {1}, {5}}));
  EXPECT_EQ(ring(plan, 1, 2), (Ring{4, {1}, {5}}));
}

TEST(HybridDp, LevelTimesThatBreakTheCapAreRefusedInTraining) {
  PlanRequest wanted = attention_request(2, {10, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2});
  wanted.options.token_cap_per_rank = 16;
  EXPECT_THAT(refusal_of(wanted),
              HasSubstr("policy hybrid_dp: rank 1 would hold 20 tokens of a micro-batch of 30 on 2 ranks, but "
                        "token_cap_per_rank is 16"));
}

TEST(HybridDp, ASequenceThatNeedsMoreRanksThanThereAreIsRefused) {
  PlanRequest wanted = attention_request(2, {21});
  wanted.options.tokens_per_rank = 10;
  EXPECT_THAT(refusal_of(wanted), HasSubstr("sequence 0 of 21 tokens needs 3 ranks of 10 tokens"));
}

}  // namespace
}  // namespace ballast::scheduler
