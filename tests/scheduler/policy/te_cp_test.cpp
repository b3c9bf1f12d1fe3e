#include "scheduler/policy/te_cp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/scheduler/policy/policy_requests.h"

namespace ballast::scheduler {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(TeCp, EverySequenceIsOnAllRanksAndPaddingIsChargedNotPlaced) {
  const Plan plan = make_plan(plan_request("te_cp", {7, 16, 1}, 2, 2));
  ASSERT_EQ(plan.micro_batches[0].work.size(), 3u);
  // 7 = 8 chunks, the first seven of one token: positions 0 and 7, 1 and 6, 2 and 5, 3 and 4.
  EXPECT_EQ(std::get<Ring>(plan.micro_batches[0].work[0]), (Ring{0, {0, 1, 2, 3}, {1, 2, 2, 2}}));
  EXPECT_EQ(std::get<Ring>(plan.micro_batches[0].work[1]), (Ring{1, {0, 1, 2, 3}, {4, 4, 4, 4}}));
  EXPECT_EQ(std::get<Ring>(plan.micro_batches[0].work[2]), (Ring{2, {0, 1, 2, 3}, {1, 0, 0, 0}}));
  EXPECT_THAT(plan.charged_tokens, ElementsAre(8, 16, 8));
}

TEST(TeCp, ShortSequencesThatPileUpOnTheFirstRankAreRefused) {
  PlanRequest wanted = plan_request("te_cp", {1, 1, 1, 1}, 1, 2);
  wanted.options.token_cap_per_rank = 3;
  EXPECT_THAT(refusal_of(wanted), HasSubstr("policy te_cp: rank 0 would hold 4 tokens of a micro-batch of 4 on 2 ranks, but "
                                            "token_cap_per_rank is 3"));
}

}  // namespace
}  // namespace ballast::scheduler
