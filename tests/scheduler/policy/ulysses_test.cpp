#include "scheduler/policy/ulysses.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/scheduler/policy/policy_requests.h"

namespace ballast::scheduler {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Ulysses, GroupsAreAsLargeAsHeadsKeyHeadsAndRanksAllow) {
  PlanRequest wanted = plan_request("ulysses", {9, 5, 6, 1}, 2, 4);
  wanted.model.num_key_value_heads = 4;
  const Plan plan = make_plan(wanted);
  // Two groups of four ranks, each a node: 9 | 6, then 5 and 1 to the one with fewer tokens each time.
  ASSERT_EQ(plan.micro_batches[0].work.size(), 2u);
  const HeadAllToAll& first = std::get<HeadAllToAll>(plan.micro_batches[0].work[0]);
  EXPECT_THAT(first.ranks, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(first.sequences, ElementsAre(0, 3));
  EXPECT_THAT(first.num_heads, ElementsAre(2, 2, 2, 2));
  EXPECT_THAT(first.tokens[0], ElementsAre(Chunk{0, 0, 3}));
  EXPECT_THAT(first.tokens[2], ElementsAre(Chunk{0, 6, 8}));
  EXPECT_THAT(first.tokens[3], ElementsAre(Chunk{0, 8, 9}, Chunk{3, 0, 1}));
  const HeadAllToAll& second = std::get<HeadAllToAll>(plan.micro_batches[0].work[1]);
  EXPECT_THAT(second.ranks, ElementsAre(4, 5, 6, 7));
  EXPECT_THAT(second.sequences, ElementsAre(1, 2));
}

TEST(Ulysses, KeyHeadsLimitTheGroup) {
  const Plan plan = make_plan(plan_request("ulysses", {8}, 1, 4));  // 8 query heads, 2 key/value heads
  EXPECT_THAT(std::get<HeadAllToAll>(plan.micro_batches[0].work[0]).ranks, ElementsAre(0, 1));
}

TEST(Ulysses, HeadsThatAllowNoSplitLeaveWholeSequencesOrARefusal) {
  PlanRequest wanted = plan_request("ulysses", {8, 4, 3}, 1, 3);
  const Plan plan = make_plan(wanted);
  EXPECT_EQ(std::get<Ring>(plan.micro_batches[0].work[0]), (Ring{0, {0}, {8}}));
  wanted.options.token_cap_per_rank = 7;
  EXPECT_THAT(refusal_of(wanted),
              HasSubstr("no group has room for sequence 0 of 8 tokens: 8 query heads, 2 key/value heads and 3 ranks allow 3 "
                        "groups of 1 ranks, the emptiest holds 0 tokens and token_cap_per_rank is 7"));
}

}  // namespace
}  // namespace ballast::scheduler
