#include "scheduler/policy/dp_balanced.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <numeric>

#include "scheduler/plan/layout.h"
#include "tests/scheduler/policy/policy_requests.h"

namespace ballast::scheduler {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::VariantWith;

auto ring(std::int64_t sequence, std::vector<int> ranks, std::vector<std::int64_t> shares) {
  return VariantWith<Ring>(Ring{sequence, std::move(ranks), std::move(shares)});
}

TEST(DpBalanced, PacksAreBroughtToAMultipleOfTheGroups) {
  // Budget ceil(20 / 2) = 10: packs {3, 4}, {9}, {4}; the third goes round to rank 0, the fourth is popped off the first pack.
  PlanRequest wanted = plan_request("dp_balanced", {3, 4, 9, 4}, 1, 2);
  const Plan plan = make_plan(wanted);
  EXPECT_THAT(plan.micro_batches[0].homes[0], ElementsAre(Chunk{0, 0, 3}, Chunk{3, 0, 4}));
  EXPECT_THAT(plan.micro_batches[0].homes[1], ElementsAre(Chunk{2, 0, 9}, Chunk{1, 0, 4}));
  wanted.planner_mode = true;
  const Plan formed = make_plan(wanted);
  ASSERT_EQ(formed.micro_batches.size(), 2u);
  EXPECT_THAT(formed.micro_batches[0].sequences, ElementsAre(0, 2));
  EXPECT_THAT(formed.micro_batches[1].sequences, ElementsAre(1, 3));
}

TEST(DpBalanced, GroupsHoldTheLongestDocument) {
  // Six tokens a rank: the document of 12 needs two, so there are two groups of two with packs {12} and {3, 3, 6}.
  PlanRequest wanted = plan_request("dp_balanced", {12, 3, 3, 6}, 1, 4);
  EXPECT_THAT(make_plan(wanted).micro_batches[0].work,
              ElementsAre(ring(0, {0, 1}, {6, 6}), ring(1, {2, 3}, {1, 2}), ring(2, {2, 3}, {1, 2}), ring(3, {2, 3}, {3, 3})));
  // Rank 3 holds seven tokens of that pack: under a cap of six it closes before the last document.
  wanted.options.token_cap_per_rank = 6;
  wanted.planner_mode = true;
  const Plan formed = make_plan(wanted);
  ASSERT_EQ(formed.micro_batches.size(), 2u);
  EXPECT_THAT(formed.micro_batches[0].work, ElementsAre(ring(0, {0, 1}, {6, 6}), ring(1, {2, 3}, {1, 2})));
  EXPECT_THAT(formed.micro_batches[1].work, ElementsAre(ring(3, {0, 1}, {3, 3}), ring(2, {2, 3}, {1, 2})));
}

TEST(DpBalanced, RefusesWithNumbers) {
  PlanRequest wanted = plan_request("dp_balanced", {7, 5, 7, 3}, 1, 2);
  wanted.options.token_cap_per_rank = 11;
  EXPECT_THAT(refusal_of(wanted), AllOf(HasSubstr("policy dp_balanced: rank 0 would hold 14 tokens"),
                                        HasSubstr("forms 2 micro-batches"), HasSubstr("token_cap_per_rank is 11")));
  wanted.planner_mode = true;
  EXPECT_EQ(refusal_of(wanted), "no error");
  wanted.lengths = {23};
  EXPECT_THAT(refusal_of(wanted), HasSubstr("a document of 23 tokens needs 12 on each of 2 ranks, but token_cap_per_rank is 11"));
}

TEST(DpBalanced, DocumentsStayWithinOneGroupAndPacksWithinTheBudget) {
  EXPECT_TRUE(rc::check("planner mode: equal groups side by side, each with at most its budget", [] {
    const std::vector<std::int64_t> lengths = random_lengths(10);
    const std::int64_t total = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
    const int num_ranks = *rc::gen::inRange(1, 13);
    PlanRequest wanted = plan_request("dp_balanced", lengths, 1, num_ranks);
    wanted.planner_mode = true;
    const Plan plan = make_plan(wanted);
    const std::int64_t budget = (total + num_ranks - 1) / num_ranks;
    std::size_t group_size = 0;
    for (const MicroBatch& micro_batch : plan.micro_batches) {
      std::vector<std::int64_t> tokens_by_first_rank(num_ranks, 0);
      for (const AttentionWork& work : micro_batch.work) {
        const Ring& ring = std::get<Ring>(work);
        if (group_size == 0) group_size = ring.ranks.size();
        RC_ASSERT(ring.ranks.size() == group_size);
        RC_ASSERT(ring.ranks[0] % static_cast<int>(group_size) == 0);
        tokens_by_first_rank[ring.ranks[0]] += plan.lengths[ring.sequence];
      }
      for (const std::int64_t tokens : tokens_by_first_rank) RC_ASSERT(tokens <= budget * static_cast<std::int64_t>(group_size));
    }
  }));
}

}  // namespace
}  // namespace ballast::scheduler
