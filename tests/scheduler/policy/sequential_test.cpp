#include "scheduler/policy/sequential.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <numeric>

#include "scheduler/plan/layout.h"
#include "tests/scheduler/policy/policy_requests.h"

namespace ballast::scheduler {
namespace {

using testing::ElementsAre;
using testing::VariantWith;

auto ring(std::int64_t sequence, std::vector<int> ranks, std::vector<std::int64_t> shares) {
  return VariantWith<Ring>(Ring{sequence, std::move(ranks), std::move(shares)});
}

TEST(Sequential, ADocumentIsCutWhereItCrossesABorder) {
  // 20 tokens on two ranks: three of the document of 9 fill rank 0, six go on on rank 1.
  const MicroBatch micro_batch = make_plan(plan_request("sequential", {3, 4, 9, 4}, 1, 2)).micro_batches[0];
  EXPECT_THAT(micro_batch.work, ElementsAre(ring(0, {0}, {3}), ring(1, {0}, {4}), ring(2, {0, 1}, {3, 6}), ring(3, {1}, {4})));
  // Head and mirrored tail: 0..2 and 8 on rank 0, what is between on rank 1.
  EXPECT_THAT(micro_batch.homes[0], ElementsAre(Chunk{0, 0, 3}, Chunk{1, 0, 4}, Chunk{2, 0, 2}, Chunk{2, 8, 9}));
  EXPECT_THAT(micro_batch.homes[1], ElementsAre(Chunk{2, 2, 8}, Chunk{3, 0, 4}));
}

TEST(Sequential, RanksAreFilledToTheTokensThatAreAskedFor) {
  PlanRequest wanted = plan_request("sequential", {3, 4, 9, 4}, 1, 3);
  EXPECT_THAT(make_plan(wanted).micro_batches[0].work,
              ElementsAre(ring(0, {0}, {3}), ring(1, {0}, {4}), ring(2, {1, 2}, {7, 2}), ring(3, {2}, {4})));
  wanted.options.tokens_per_rank = 8;
  EXPECT_THAT(make_plan(wanted).micro_batches[0].work,
              ElementsAre(ring(0, {0}, {3}), ring(1, {0}, {4}), ring(2, {0, 1}, {1, 8}), ring(3, {2}, {4})));
  wanted.options.token_cap_per_rank = 7;  // the cap is less
  EXPECT_THAT(make_plan(wanted).micro_batches[0].work,
              ElementsAre(ring(0, {0}, {3}), ring(1, {0}, {4}), ring(2, {1, 2}, {7, 2}), ring(3, {2}, {4})));
  wanted.options.tokens_per_rank = 6;  // three times 6 are too few
  EXPECT_THAT(make_plan(wanted).micro_batches[0].work,
              ElementsAre(ring(0, {0}, {3}), ring(1, {0}, {4}), ring(2, {1, 2}, {7, 2}), ring(3, {2}, {4})));
}

TEST(Sequential, TokensAreEvenAndInArrivalOrder) {
  EXPECT_TRUE(rc::check("every rank holds floor or ceil of the mean; the parts of documents follow each other rank by rank", [] {
    const std::vector<std::int64_t> lengths = random_lengths(12);
    const std::int64_t total = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
    const int num_ranks = *rc::gen::inRange(1, 20);
    PlanRequest wanted = plan_request("sequential", lengths, 1, num_ranks);
    wanted.options.token_cap_per_rank = std::max<std::int64_t>(1, (total + num_ranks - 1) / num_ranks);
    const MicroBatch micro_batch = make_plan(wanted).micro_batches[0];
    for (int r = 0; r < num_ranks; ++r)
      RC_ASSERT(num_tokens(micro_batch.homes[r]) == total / num_ranks + (r < total % num_ranks ? 1 : 0));
    std::int64_t next_sequence = 0;
    int last_rank = 0;
    for (const AttentionWork& work : micro_batch.work) {
      const Ring& ring = std::get<Ring>(work);
      RC_ASSERT(ring.sequence == next_sequence++);
      for (const int rank : ring.ranks) {
        RC_ASSERT(rank == last_rank || rank == last_rank + 1);
        last_rank = rank;
      }
    }
  }));
}

}  // namespace
}  // namespace ballast::scheduler
