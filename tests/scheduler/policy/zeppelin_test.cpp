#include "scheduler/policy/zeppelin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "scheduler/cost/rank_load.h"
#include "tests/scheduler/policy/policy_requests.h"

namespace ballast::scheduler {
namespace {

using testing::HasSubstr;

TEST(Zeppelin, LongSequencesGoOverNodesShortOnesStayWhole) {
  PlanRequest wanted = plan_request("zeppelin", {10, 100, 10, 10, 10}, 2, 2);
  wanted.options.token_cap_per_rank = 40;  // a node holds 80
  const Plan plan = make_plan(wanted);
  const std::vector<AttentionWork>& work = plan.micro_batches[0].work;
  ASSERT_EQ(work.size(), 5u);
  EXPECT_EQ(std::get<Ring>(work[0]), (Ring{1, {0, 1, 2, 3}, {25, 25, 25, 25}}));
  std::vector<int> ranks;
  for (std::size_t i = 1; i < work.size(); ++i) {
    ASSERT_EQ(std::get<Ring>(work[i]).ranks.size(), 1u);
    ranks.push_back(std::get<Ring>(work[i]).ranks[0]);
  }
  EXPECT_THAT(ranks, testing::UnorderedElementsAre(0, 1, 2, 3));
  EXPECT_TRUE(plan.is_routed);
}

TEST(Zeppelin, PartsStayWithinTheThreshold) {
  // Three ranks would have room; a quarter of a rank's capacity as threshold levels the node.
  PlanRequest wanted = plan_request("zeppelin", {100}, 1, 5);
  wanted.options.token_cap_per_rank = 35;
  EXPECT_EQ(std::get<Ring>(make_plan(wanted).micro_batches[0].work[0]), (Ring{0, {0, 1, 2, 3, 4}, {20, 20, 20, 20, 20}}));
}

TEST(Zeppelin, ZonesRunFromTheSlowestLinkToNone) {
  PlanRequest wanted = plan_request("zeppelin", {40000, 9000, 9000, 800, 700, 600, 500, 400, 300, 200, 100}, 2, 4);
  wanted.options.token_cap_per_rank = 9000;
  const Plan plan = make_plan(wanted);
  int zone = 2;
  EXPECT_EQ(std::get<Ring>(plan.micro_batches[0].work[0]).sequence, 0);  // 40000 tokens fit no node
  for (const AttentionWork& piece : plan.micro_batches[0].work) {
    const std::vector<int>& ranks = std::get<Ring>(piece).ranks;
    const int now = ranks.front() / 4 != ranks.back() / 4 ? 2 : ranks.size() > 1 ? 1 : 0;
    EXPECT_LE(now, zone);
    zone = now;
  }
  EXPECT_LT(zone, 2);
}

TEST(Zeppelin, MixedLengthsAreLevelUnderTheCap) {
  std::vector<std::int64_t> lengths{50000, 33000, 21000, 9000, 8000};
  for (int i = 0; i < 200; ++i) lengths.push_back(200 + 37 * (i % 50));
  PlanRequest wanted = plan_request("zeppelin", lengths, 4, 4);
  std::int64_t total = 0;
  for (const std::int64_t length : lengths) total += length;
  wanted.options.token_cap_per_rank = total / 16 * 11 / 10;
  const Plan plan = make_plan(wanted);
  EXPECT_LT(plan_load(plan, wanted.model, wanted.topology).imbalance, 1.1);
}

TEST(Zeppelin, UnevenNodesAreLegal) {
  PlanRequest wanted = plan_request("zeppelin", {100000, 4000, 4000, 300, 20, 7}, 3, 4);
  wanted.topology.nodes[1].num_ranks = 1;
  wanted.topology.nodes[1].nic_of_rank = {0};
  wanted.topology.nodes[2].num_nics = 2;
  wanted.topology.nodes[2].nic_of_rank = {0, 1, 1, 1};
  number_ranks(wanted.topology);
  wanted.options.token_cap_per_rank = 14000;
  EXPECT_EQ(refusal_of(wanted), "no error");
  wanted.topology.nodes[2].num_nics = 0;
  wanted.topology.nodes[2].nic_of_rank.clear();
  number_ranks(wanted.topology);
  EXPECT_THAT(refusal_of(wanted), HasSubstr("policy zeppelin: micro-batch 0 gives sequence 0 to rank 5 of node 2"));
}

TEST(Zeppelin, EqualSharesThatBreakTheCapEverywhereAreRefused) {
  PlanRequest wanted = plan_request("zeppelin", {5, 5, 5}, 1, 2);  // whole: the third finds 3 tokens free; in halves: 3 + 3 + 3
  wanted.options.token_cap_per_rank = 8;
  EXPECT_THAT(refusal_of(wanted), HasSubstr("policy zeppelin: rank 0 would hold 9 tokens of a micro-batch of 15 on 2 ranks"));
}

}  // namespace
}  // namespace ballast::scheduler
