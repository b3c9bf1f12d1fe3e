#include "scheduler/policy/wlb.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "scheduler/cost/rank_load.h"
#include "scheduler/plan/layout.h"
#include "tests/scheduler/policy/policy_requests.h"

namespace ballast::scheduler {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const AllGather& pack(const Plan& plan, std::size_t i, std::size_t micro_batch = 0) {
  return std::get<AllGather>(plan.micro_batches.at(micro_batch).work.at(i));
}

TEST(Wlb, DocumentByDocumentWithTheRestDealtOut) {
  // Two members: four chunks of 2048 and four of 1024, and three tokens dealt to members 0, 1 and 0.
  PlanRequest wanted = plan_request("wlb", {8193, 4098}, 1, 2);
  wanted.options.tokens_per_rank = 5000;  // the longest document needs both ranks
  const Plan plan = make_plan(wanted);
  ASSERT_EQ(plan.micro_batches[0].work.size(), 1u);
  const AllGather& gather = pack(plan, 0);
  EXPECT_THAT(gather.sequences, ElementsAre(0, 1));
  EXPECT_THAT(gather.queries[0], ElementsAre(Chunk{0, 0, 2048}, Chunk{0, 6144, 8193}, Chunk{1, 0, 1024}, Chunk{1, 3072, 4096},
                                             Chunk{1, 4097, 4098}));
  EXPECT_THAT(gather.queries[1], ElementsAre(Chunk{0, 2048, 6144}, Chunk{1, 1024, 3072}, Chunk{1, 4096, 4097}));
}

TEST(Wlb, AsOnePackWhereShortPiecesWasteTiles) {
  // Zigzag in documents of 128 over two members gives chunks of 32 queries, each a tile of 128; cutting the pack keeps documents
  // whole.
  PlanRequest wanted = plan_request("wlb", {128, 128, 128, 128}, 1, 2);
  wanted.options.tokens_per_rank = 64;
  const Plan plan = make_plan(wanted);
  const AllGather& gather = pack(plan, 0);
  EXPECT_THAT(gather.queries[0], ElementsAre(Chunk{0, 0, 128}, Chunk{3, 0, 128}));
  EXPECT_THAT(gather.queries[1], ElementsAre(Chunk{1, 0, 128}, Chunk{2, 0, 128}));
}

TEST(Wlb, LeastWorkFirstThenTheShortestPack) {
  // Four groups of one rank with a cap of 1000: 900 fills one; the next go to the pack of least work while they fit.
  PlanRequest wanted = plan_request("wlb", {900, 500, 500, 400, 300, 100}, 1, 4);
  wanted.options.token_cap_per_rank = 1000;
  wanted.options.tokens_per_rank = 900;
  const Plan plan = make_plan(wanted);
  std::vector<std::vector<std::int64_t>> packs;
  for (std::size_t i = 0; i < plan.micro_batches[0].work.size(); ++i) packs.push_back(pack(plan, i).sequences);
  EXPECT_THAT(packs, testing::UnorderedElementsAre(ElementsAre(0), ElementsAre(1, 5), ElementsAre(2), ElementsAre(3, 4)));
}

TEST(Wlb, GroupsGrowUntilNothingIsLeftOver) {
  // Three documents of 600 on two ranks of at most 900 tokens fit no two packs of whole documents.
  PlanRequest wanted = plan_request("wlb", {600, 600, 600}, 1, 2);
  wanted.options.token_cap_per_rank = 900;
  EXPECT_EQ(pack(make_plan(wanted), 0).ranks.size(), 2u);
  wanted.options.token_cap_per_rank = 899;
  EXPECT_THAT(refusal_of(wanted), HasSubstr("1800 tokens needs 900 on each of 2 ranks, but token_cap_per_rank is 899"));
}

TEST(Wlb, AnyLengthsGiveAValidPlanUnderTheCap) {
  EXPECT_TRUE(rc::check("make_plan validates; nothing that fits all ranks is refused", [] {
    const auto lengths = *rc::gen::container<std::vector<std::int64_t>>(rc::gen::inRange<std::int64_t>(1, 2000));
    const int num_ranks = *rc::gen::inRange(1, 25);
    PlanRequest wanted = plan_request("wlb", lengths, 1, num_ranks);
    std::int64_t total = 0;
    for (const std::int64_t length : lengths) total += length;
    const std::int64_t mean = std::max<std::int64_t>(1, (total + num_ranks - 1) / num_ranks);
    wanted.options.token_cap_per_rank = *rc::gen::element(mean, mean + mean / 5, 2 * mean);
    RC_ASSERT(make_plan(wanted) == make_plan(wanted));
  }));
}

TEST(Wlb, PlannerModePacksTheWholeStep) {
  // Data order gives each micro-batch one long document, beside two short ones.
  PlanRequest wanted = plan_request("wlb", {4000, 2000, 2000, 4000, 2000, 2000}, 1, 2);
  wanted.options.tokens_per_micro_batch = 8000;
  wanted.planner_mode = true;
  const Plan plan = make_plan(wanted);
  ASSERT_EQ(plan.micro_batches.size(), 2u);
  EXPECT_THAT(plan.micro_batches[0].sequences, ElementsAre(0, 3));
  EXPECT_THAT(pack(plan, 0).sequences, ElementsAre(0));
  EXPECT_THAT(pack(plan, 1).sequences, ElementsAre(3));
  wanted.planner_mode = false;
  EXPECT_THAT(make_plan(wanted).micro_batches[1].sequences, ElementsAre(3, 4, 5));
}

TEST(Wlb, WhatFitsNoPackWaitsForAFurtherMicroBatch) {
  PlanRequest wanted = plan_request("wlb", {600, 600, 600}, 1, 2);
  wanted.options.token_cap_per_rank = 900;
  wanted.options.tokens_per_rank = 900;
  wanted.planner_mode = true;
  const Plan plan = make_plan(wanted);
  ASSERT_EQ(plan.micro_batches.size(), 2u);
  EXPECT_THAT(plan.micro_batches[0].sequences, ElementsAre(0, 1));
  EXPECT_THAT(plan.micro_batches[1].sequences, ElementsAre(2));
  wanted.lengths = {1801};
  EXPECT_THAT(refusal_of(wanted), HasSubstr("a document of 1801 tokens needs 901 on each of 2 ranks"));
}

}  // namespace
}  // namespace ballast::scheduler
