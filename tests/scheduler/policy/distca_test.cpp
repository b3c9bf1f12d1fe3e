#include "scheduler/policy/distca.h"

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

std::vector<std::int64_t> pairs_by_rank(const MicroBatch& micro_batch, int num_ranks) {
  std::vector<std::int64_t> pairs(num_ranks, 0);
  for (const AttentionWork& work : micro_batch.work) {
    for (const AttentionTask& task : std::get<TaskSet>(work).tasks) {
      for (const Chunk& chunk : task.queries) pairs[task.rank] += num_pairs(chunk);
    }
  }
  return pairs;
}

std::vector<std::int64_t> pairs_at_home(const MicroBatch& micro_batch) {
  std::vector<std::int64_t> pairs;
  for (const auto& home : micro_batch.homes) {
    pairs.push_back(0);
    for (const Chunk& chunk : home) pairs.back() += num_pairs(chunk);
  }
  return pairs;
}

TEST(Distca, ADocumentIsCutAtABorderInHeadAndTailParts) {
  const MicroBatch micro_batch = make_plan(plan_request("distca", {12, 4}, 1, 2)).micro_batches[0];
  EXPECT_THAT(micro_batch.homes[0], ElementsAre(Chunk{0, 0, 4}, Chunk{0, 8, 12}));
  EXPECT_THAT(micro_batch.homes[1], ElementsAre(Chunk{0, 4, 8}, Chunk{1, 0, 4}));
}

TEST(Distca, TheInnermostTokensMove) {
  // Rank 0 has one document of 8 (36 pairs), rank 1 eight of one token (8 pairs); the mean is 22. 14 pairs are wanted; a pair of
  // mirrored positions costs 9, so one pair moves. The 5 that are still wanted are less than one pair of positions.
  const MicroBatch micro_batch = make_plan(plan_request("distca", {8, 1, 1, 1, 1, 1, 1, 1, 1}, 1, 2)).micro_batches[0];
  const auto& tasks = std::get<TaskSet>(micro_batch.work[0]).tasks;
  EXPECT_EQ(tasks[0], (AttentionTask{0, 0, {{0, 0, 3}, {0, 5, 8}}}));
  EXPECT_EQ(tasks[1], (AttentionTask{0, 1, {{0, 3, 5}}}));
  EXPECT_THAT(pairs_by_rank(micro_batch, 2), ElementsAre(27, 17));
  EXPECT_THAT(micro_batch.homes[0], ElementsAre(Chunk{0, 0, 8}));
}

TEST(Distca, TheCheapestTransferPerWorkGoesFirst) {
  // Rank 0: documents of 6, 4 and 4 (21, 10 and 10 pairs); rank 1: fourteen of one token. The mean is 27, so 13 are wanted. From
  // the document of 6 they cost 13 / 7 queries and 14 keys; one of 4 gives 10 for 10 / 5 queries and 10 keys. Queries are 8 heads
  // wide, keys 2: (13 / 7 * 8 + 14 * 2) / 13 = 3.3 against (10 / 5 * 8 + 10 * 2) / 10 = 3.6, so the document of 6 is split, and
  // then one of 4 for the 6 that are left.
  std::vector<std::int64_t> lengths{6, 4, 4};
  lengths.insert(lengths.end(), 14, 1);
  PlanRequest wanted = plan_request("distca", lengths, 1, 2);
  const auto moved_tokens = [&](std::int64_t sequence) {
    const Plan plan = make_plan(wanted);
    for (const AttentionTask& task : std::get<TaskSet>(plan.micro_batches[0].work[0]).tasks) {
      if (task.sequence == sequence && task.rank == 1) return num_tokens(task.queries);
    }
    return std::int64_t{0};
  };
  EXPECT_EQ(moved_tokens(0), 2);
  EXPECT_EQ(moved_tokens(1), 2);
  // With 8 key heads: 9.8 against 9.6, so a document of 4 goes whole.
  wanted.model.num_key_value_heads = 8;
  EXPECT_EQ(moved_tokens(0), 0);
  EXPECT_EQ(moved_tokens(1), 4);
}

TEST(Distca, TokensStayAndWorkIsLevelled) {
  EXPECT_TRUE(
      rc::check("homes hold floor or ceil of the mean; no rank ends above the larger of the mean and its work at home", [] {
        const auto bits = *rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 12));
        std::vector<std::int64_t> lengths;
        std::int64_t total = 0;
        for (const int b : bits) {
          lengths.push_back(*rc::gen::inRange<std::int64_t>(1, (std::int64_t{1} << b) + 1));
          total += lengths.back();
        }
        const int num_ranks = *rc::gen::inRange(1, 20);
        const PlanRequest wanted = plan_request("distca", lengths, 1, num_ranks);
        const Plan plan = make_plan(wanted);
        RC_ASSERT(plan == make_plan(wanted));
        const MicroBatch& micro_batch = plan.micro_batches[0];
        std::int64_t sum = 0;
        const auto before = pairs_at_home(micro_batch);
        const auto after = pairs_by_rank(micro_batch, num_ranks);
        for (int r = 0; r < num_ranks; ++r) {
          RC_ASSERT(num_tokens(micro_batch.homes[r]) == total / num_ranks + (r < total % num_ranks ? 1 : 0));
          sum += before[r];
        }
        for (int r = 0; r < num_ranks; ++r) RC_ASSERT(after[r] <= std::max(before[r], sum / num_ranks + total));
      }));
}

TEST(Distca, RefusesWhereQueriesExceedTheCap) {
  PlanRequest wanted = plan_request("distca", {64, 64, 2, 62}, 1, 3);
  wanted.options.token_cap_per_rank = 64;
  EXPECT_EQ(refusal_of(wanted), "no error");
  std::vector<std::int64_t> lengths{64};
  lengths.insert(lengths.end(), 64, 1);
  wanted = plan_request("distca", lengths, 1, 2);
  wanted.options.token_cap_per_rank = 64;
  EXPECT_THAT(refusal_of(wanted), HasSubstr("rank 1 would compute 94 queries, but token_cap_per_rank is 64"));
}

// A single batch may be worse: every rank is served to within a tenth of the mean, and what they do not take can stay on one
// rank.
TEST(Distca, ImbalanceOfDrawnBatches) {
  constexpr int kSeeds = 12;
  for (const std::string& table : table_names()) {
    for (const int num_nodes : {2, 4, 8}) {
      const int num_ranks = 8 * num_nodes;
      double before = 0, after = 0;
      for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
        const PlanRequest wanted = plan_request("distca", drawn_lengths(table, 4096 * num_ranks, seed), num_nodes, 8);
        const Plan plan = make_plan(wanted);
        std::int64_t most = 0, sum = 0;
        for (const std::int64_t pairs : pairs_at_home(plan.micro_batches[0])) {
          most = std::max(most, pairs);
          sum += pairs;
        }
        for (const std::int64_t pairs : pairs_by_rank(plan.micro_batches[0], num_ranks)) {
          EXPECT_LE(sum / num_ranks - pairs, sum / num_ranks / 10) << table << ", " << num_ranks << " ranks, seed " << seed;
        }
        before += static_cast<double>(most) * num_ranks / static_cast<double>(sum) / kSeeds;
        after += plan_load(plan, wanted.model, wanted.topology).attention_imbalance / kSeeds;
      }
      EXPECT_GE(before, 1.5) << table << ", " << num_ranks << " ranks";
      EXPECT_LE(before, 10) << table << ", " << num_ranks << " ranks";
      EXPECT_GE(after, 1.01) << table << ", " << num_ranks << " ranks";
      EXPECT_LE(after, 1.5) << table << ", " << num_ranks << " ranks";
    }
  }
}

}  // namespace
}  // namespace ballast::scheduler
