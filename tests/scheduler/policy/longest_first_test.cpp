#include "scheduler/policy/longest_first.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>

#include "tests/scheduler/policy/policy_requests.h"

namespace ballast::scheduler {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(LongestFirst, EachToTheRankOfLeastCost) {
  const Plan plan = make_plan(plan_request("longest_first", {3, 9, 4, 4}, 1, 2));
  ASSERT_EQ(plan.micro_batches.size(), 1u);
  EXPECT_THAT(plan.micro_batches[0].homes[0], ElementsAre(Chunk{1, 0, 9}));
  EXPECT_THAT(plan.micro_batches[0].homes[1], ElementsAre(Chunk{2, 0, 4}, Chunk{3, 0, 4}, Chunk{0, 0, 3}));
}

TEST(LongestFirst, ByTokensWhereCostFindsNoRoom) {
  // With attention alone, cost puts 6 on one rank and 4, 4 and 3 on the other, which has room for 9.
  PlanRequest wanted = plan_request("longest_first", {6, 4, 4, 3}, 1, 2);
  wanted.topology.linear_flops_per_second = 1e30;
  EXPECT_THAT(make_plan(wanted).micro_batches[0].homes[0], ElementsAre(Chunk{0, 0, 6}));
  wanted.options.token_cap_per_rank = 9;
  EXPECT_THAT(make_plan(wanted).micro_batches[0].homes[0], ElementsAre(Chunk{0, 0, 6}, Chunk{3, 0, 3}));
}

TEST(LongestFirst, RefusesADocumentAboveTheCap) {
  PlanRequest wanted = plan_request("longest_first", {30}, 1, 4);
  wanted.options.token_cap_per_rank = 12;
  EXPECT_THAT(refusal_of(wanted), HasSubstr("no rank has room for sequence 0 of 30 tokens"));
}

TEST(LongestFirst, IsNearTheBruteForceOptimum) {
  EXPECT_TRUE(rc::check("longest first is within 4/3 of the best assignment of whole sequences (Graham's bound)", [] {
    const auto lengths = *rc::gen::container<std::vector<std::int64_t>>(6, rc::gen::inRange<std::int64_t>(1, 40));
    const auto square = [](std::int64_t n) { return static_cast<double>(n * n); };
    PlanRequest wanted = plan_request("longest_first", lengths, 1, 3);
    wanted.topology.linear_flops_per_second = 1e30;  // only attention counts
    const Plan plan = make_plan(wanted);
    double got = 0;
    for (const auto& home : plan.micro_batches[0].homes) {
      double load = 0;
      for (const Chunk& chunk : home) load += square(chunk.end) + static_cast<double>(chunk.end);
      got = std::max(got, load);
    }
    double best = 1e30;
    for (int code = 0; code < 729; ++code) {
      double load[3] = {0, 0, 0};
      for (int i = 0, rest = code; i < 6; ++i, rest /= 3) load[rest % 3] += square(lengths[i]) + static_cast<double>(lengths[i]);
      best = std::min(best, *std::max_element(load, load + 3));
    }
    RC_ASSERT(got <= best * 4 / 3 + 1e-9);
  }));
}

}  // namespace
}  // namespace ballast::scheduler
