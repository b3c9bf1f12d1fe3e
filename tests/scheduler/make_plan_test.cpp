#include "scheduler/make_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "scheduler/plan/fingerprint.h"
#include "scheduler/plan/layout.h"
#include "scheduler/policy/registry.h"

namespace ballast::scheduler {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

ModelShape tiny_model() {
  ModelShape model;
  model.vocab_size = 264;
  model.hidden_size = 32;
  model.num_layers = 2;
  model.num_attention_heads = 4;
  model.num_key_value_heads = 2;
  model.head_dim = 8;
  model.intermediate_size = 64;
  model.num_dense_layers = 2;
  return model;
}

PlanRequest request(std::vector<std::int64_t> lengths, int num_ranks, const std::string& policy = "longest_first") {
  PlanRequest result;
  result.lengths = std::move(lengths);
  Node node;
  node.num_ranks = num_ranks;
  result.topology = uniform_topology(1, node);
  result.model = tiny_model();
  result.options.policy = policy;
  return result;
}

std::string message_of(const PlanRequest& wanted) {
  try {
    make_plan(wanted);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "no error";
}

TEST(MakePlan, CutsMicroBatchesAsRuns) {
  EXPECT_EQ(micro_batch_runs({5, 5, 1, 12, 3}, 10), (std::vector<std::vector<std::int64_t>>{{0, 1}, {2}, {3}, {4}}));
  EXPECT_EQ(micro_batch_runs({5, 5}, 0), (std::vector<std::vector<std::int64_t>>{{0, 1}}));
  EXPECT_EQ(micro_batch_runs({}, 10), (std::vector<std::vector<std::int64_t>>{{}}));
}

TEST(MakePlan, WorkedExampleLongestFirst) {
  const Plan plan = make_plan(request({3, 9, 4, 4}, 2));
  ASSERT_EQ(plan.micro_batches.size(), 1u);
  EXPECT_THAT(plan.micro_batches[0].homes[0], ElementsAre(Chunk{1, 0, 9}));
  EXPECT_THAT(plan.micro_batches[0].homes[1], ElementsAre(Chunk{2, 0, 4}, Chunk{3, 0, 4}, Chunk{0, 0, 3}));
}

TEST(MakePlan, WorkedExampleSequential) {
  // Budget ceil(20 / 2) = 10: packs {3, 4}, {9}, {4}; the third goes round to rank 0, the fourth is popped off the first pack.
  const Plan plan = make_plan(request({3, 4, 9, 4}, 2, "sequential"));
  EXPECT_THAT(plan.micro_batches[0].homes[0], ElementsAre(Chunk{0, 0, 3}, Chunk{3, 0, 4}));
  EXPECT_THAT(plan.micro_batches[0].homes[1], ElementsAre(Chunk{2, 0, 9}, Chunk{1, 0, 4}));
}

TEST(MakePlan, MoreRanksThanTokensAndEmptyBatch) {
  for (const Policy& policy : policies()) {
    const Plan few = make_plan(request({1, 1}, 5, policy.name));
    EXPECT_EQ(few.ranks.size(), 5u);
    const Plan none = make_plan(request({}, 3, policy.name));
    ASSERT_EQ(none.micro_batches.size(), 1u);
    EXPECT_EQ(none.micro_batches[0].homes.size(), 3u);
  }
}

TEST(MakePlan, RefusesWithNumbers) {
  PlanRequest tight = request({10, 10, 10}, 2);
  tight.options.token_cap_per_rank = 12;
  EXPECT_THAT(message_of(tight), HasSubstr("30 tokens needs 15 on each of 2 ranks, but token_cap_per_rank is 12"));
  PlanRequest long_one = request({30}, 4);
  long_one.options.token_cap_per_rank = 12;
  EXPECT_THAT(message_of(long_one), HasSubstr("no rank has room for sequence 0 of 30 tokens"));
  EXPECT_THAT(message_of(request({1}, 1, "longest")), HasSubstr("unknown policy 'longest'; known: sequential, longest_first, ballast"));
  EXPECT_THAT(message_of(request({4, 0}, 1)), HasSubstr("sequence 1 has 0 tokens"));
}

TEST(MakePlan, PlansArePureAndKeepTheCap) {
  rc::check("every policy, random lengths: valid (make_plan validates), cap kept, same input same plan", [] {
    const auto lengths = *rc::gen::container<std::vector<std::int64_t>>(rc::gen::inRange<std::int64_t>(1, 500));
    const int num_ranks = *rc::gen::inRange(1, 9);
    std::int64_t total = 0, longest = 0;
    for (const std::int64_t length : lengths) {
      total += length;
      longest = std::max(longest, length);
    }
    for (const Policy& policy : policies()) {
      PlanRequest wanted = request(lengths, num_ranks, policy.name);
      wanted.options.token_cap_per_rank = 2 * (total / num_ranks + longest) + 1;
      wanted.options.tokens_per_micro_batch = *rc::gen::inRange<std::int64_t>(0, 2000);
      const Plan plan = make_plan(wanted);
      RC_ASSERT(fingerprint(plan) == fingerprint(make_plan(wanted)));
      RC_ASSERT(plan == make_plan(wanted));
      for (const MicroBatch& micro_batch : plan.micro_batches) {
        for (const auto& home : micro_batch.homes) RC_ASSERT(num_tokens(home) <= wanted.options.token_cap_per_rank);
      }
    }
  });
}

TEST(MakePlan, LongestFirstIsNearTheBruteForceOptimum) {
  rc::check("longest first is within 4/3 of the best assignment of whole sequences (Graham's bound)", [] {
    const auto lengths = *rc::gen::container<std::vector<std::int64_t>>(6, rc::gen::inRange<std::int64_t>(1, 40));
    const auto square = [](std::int64_t n) { return static_cast<double>(n * n); };
    PlanRequest wanted = request(lengths, 3);
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
  });
}

}  // namespace
}  // namespace ballast::scheduler
