#include "scheduler/policy/chunk_heap.h"

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

TEST(ChunkHeap, HeaviestChunkFirstToTheRankOfLeastWork) {
  // Chunks by pairs: [512, 1024) of document 0 with 393472; [336, 848) of document 1 with 303360; the end of document 0 and the
  // begin of document 1 with 252416; [0, 512) of document 0 with 131328. So rank 0 takes the first and the last.
  const MicroBatch micro_batch = make_plan(plan_request("chunk_heap", {1200, 848}, 1, 2)).micro_batches[0];
  EXPECT_THAT(micro_batch.homes[0], ElementsAre(Chunk{0, 0, 1024}));
  EXPECT_THAT(micro_batch.homes[1], ElementsAre(Chunk{0, 1024, 1200}, Chunk{1, 0, 848}));
  EXPECT_THAT(std::get<TaskSet>(micro_batch.work[0]).tasks,
              ElementsAre(AttentionTask{0, 0, {{0, 0, 1024}}}, AttentionTask{0, 1, {{0, 1024, 1200}}},
                          AttentionTask{1, 1, {{1, 0, 848}}}));
}

TEST(ChunkHeap, ARankTakesNoMoreThanItsPartOfTheChunks) {
  // Six equal documents of a chunk and one of three: its last chunks outweigh three others, but every rank takes three of nine.
  const MicroBatch micro_batch =
      make_plan(plan_request("chunk_heap", {512, 512, 512, 512, 512, 512, 1536}, 1, 3)).micro_batches[0];
  for (const auto& home : micro_batch.homes) EXPECT_EQ(num_tokens(home), 1536);
}

TEST(ChunkHeap, TheFilledUpChunkIsCharged) {
  const Plan plan = make_plan(plan_request("chunk_heap", {1000, 500}, 1, 1));
  EXPECT_THAT(plan.charged_tokens, ElementsAre(1000, 536));
  EXPECT_THAT(plan.micro_batches[0].homes[0], ElementsAre(Chunk{0, 0, 1000}, Chunk{1, 0, 500}));
}

TEST(ChunkHeap, AnyLengthsGiveEvenTokens) {
  EXPECT_TRUE(rc::check("valid (make_plan validates); tokens even to one chunk", [] {
    const auto lengths = *rc::gen::container<std::vector<std::int64_t>>(rc::gen::inRange<std::int64_t>(1, 3000));
    const int num_ranks = *rc::gen::inRange(1, 20);
    const PlanRequest wanted = plan_request("chunk_heap", lengths, 1, num_ranks);
    const Plan plan = make_plan(wanted);
    RC_ASSERT(plan == make_plan(wanted));
    std::int64_t total = 0;
    for (const std::int64_t length : lengths) total += length;
    for (const auto& home : plan.micro_batches[0].homes) RC_ASSERT(num_tokens(home) <= total / num_ranks + 512 + 1);
  }));
}

TEST(ChunkHeap, RefusesWhereAChunkMoreThanTheMeanExceedsTheCap) {
  PlanRequest wanted = plan_request("chunk_heap", {1100}, 1, 2);
  wanted.options.token_cap_per_rank = 560;
  EXPECT_THAT(
      refusal_of(wanted),
      HasSubstr("would hold 588 tokens (2 of 3 chunks of 512 tokens), but token_cap_per_rank is 560; raise the cap to 1024"));
  wanted.options.token_cap_per_rank = 1024;
  EXPECT_EQ(refusal_of(wanted), "no error");
}

TEST(ChunkHeap, ImbalanceOfDrawnBatches) {
  for (const std::string& table : table_names()) {
    for (const int num_nodes : {2, 4, 8}) {
      for (const std::uint64_t seed : {1, 2, 3}) {
        const PlanRequest wanted = plan_request("chunk_heap", drawn_lengths(table, 4096 * 8 * num_nodes, seed), num_nodes, 8);
        const double imbalance = plan_load(make_plan(wanted), wanted.model, wanted.topology).attention_imbalance;
        EXPECT_LE(imbalance, 1.77) << table << ", " << 8 * num_nodes << " ranks, seed " << seed;
      }
    }
  }
}

}  // namespace
}  // namespace ballast::scheduler
