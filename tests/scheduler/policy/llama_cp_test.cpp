#include "scheduler/policy/llama_cp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/scheduler/policy/policy_requests.h"

namespace ballast::scheduler {
namespace {

using testing::ElementsAre;

TEST(LlamaCp, ThePackIsCutHeadAndTailWithoutRegardToDocuments) {
  // 14 tokens on 3 ranks: parts of 3, 3, 2, 2, 2, 2 tokens over documents of 4, 9 and 1.
  const Plan plan = make_plan(plan_request("llama_cp", {4, 9, 1}, 1, 3));
  ASSERT_EQ(plan.micro_batches[0].work.size(), 1u);
  const AllGather& gather = std::get<AllGather>(plan.micro_batches[0].work[0]);
  EXPECT_THAT(gather.sequences, ElementsAre(0, 1, 2));
  EXPECT_THAT(gather.ranks, ElementsAre(0, 1, 2));
  EXPECT_THAT(gather.queries[0], ElementsAre(Chunk{0, 0, 3}, Chunk{1, 8, 9}, Chunk{2, 0, 1}));
  EXPECT_THAT(gather.queries[1], ElementsAre(Chunk{0, 3, 4}, Chunk{1, 0, 2}, Chunk{1, 6, 8}));
  EXPECT_THAT(gather.queries[2], ElementsAre(Chunk{1, 2, 6}));  // both parts touch
  EXPECT_THAT(plan.charged_tokens, testing::IsEmpty());
}

TEST(LlamaCp, TheTightestCapIsKept) {
  PlanRequest wanted = plan_request("llama_cp", {1, 1, 1, 1, 1, 9, 17}, 1, 4);
  wanted.options.token_cap_per_rank = 8;  // 31 tokens
  EXPECT_EQ(refusal_of(wanted), "no error");
}

}  // namespace
}  // namespace ballast::scheduler
