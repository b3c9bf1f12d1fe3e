// Layout, validation, cursor and fingerprint of plans.
#include "scheduler/plan/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <functional>

#include "scheduler/make_plan.h"
#include "scheduler/plan/cursor.h"
#include "scheduler/plan/describe.h"
#include "scheduler/plan/fingerprint.h"
#include "scheduler/plan/kv_sources.h"
#include "scheduler/plan/layout.h"
#include "scheduler/plan/validate.h"

namespace ballast::scheduler {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Layout, SevenTokensOnARingOfThree) {
  EXPECT_THAT(equal_shares(7, 3), ElementsAre(3, 2, 2));
  const auto chunks = zigzag_chunks(4, equal_shares(7, 3));
  EXPECT_EQ(chunks[0][0], (Chunk{4, 0, 2}));
  EXPECT_EQ(chunks[1][0], (Chunk{4, 2, 3}));
  EXPECT_EQ(chunks[2][0], (Chunk{4, 3, 4}));
  EXPECT_EQ(chunks[2][1], (Chunk{4, 4, 5}));
  EXPECT_EQ(chunks[1][1], (Chunk{4, 5, 6}));
  EXPECT_EQ(chunks[0][1], (Chunk{4, 6, 7}));
}

TEST(Layout, ChunksThatTouchAreJoined) {
  std::vector<Chunk> chunks;
  for (const Chunk& chunk : {Chunk{1, 0, 2}, Chunk{1, 2, 2}, Chunk{1, 2, 4}, Chunk{1, 5, 6}, Chunk{2, 6, 7}})
    append_chunk(chunks, chunk);
  EXPECT_THAT(chunks, ElementsAre(Chunk{1, 0, 4}, Chunk{1, 5, 6}, Chunk{2, 6, 7}));
}

TEST(Layout, HomesOfARingAreWhatItsMembersHold) {
  std::vector<std::vector<Chunk>> homes(3);
  append_chunks(Ring{0, {2, 0}, {2, 2}}, homes);
  append_chunks(Ring{1, {0}, {3}}, homes);
  EXPECT_THAT(homes[0], ElementsAre(Chunk{0, 1, 3}, Chunk{1, 0, 3}));
  EXPECT_THAT(homes[1], testing::IsEmpty());
  EXPECT_THAT(homes[2], ElementsAre(Chunk{0, 0, 1}, Chunk{0, 3, 4}));
}

TEST(Layout, EqualSharesMatchTheChunkFormula) {
  EXPECT_TRUE(rc::check("chunk j has q + 1 tokens if j < r, and position i owns chunks i and 2G-1-i", [] {
    const std::int64_t length = *rc::gen::inRange<std::int64_t>(0, 5000);
    const int members = *rc::gen::inRange(1, 33);
    const std::int64_t quotient = length / (2 * members), rest = length % (2 * members);
    const auto size = [&](std::int64_t j) { return quotient + (j < rest ? 1 : 0); };
    const auto start = [&](std::int64_t j) { return j * quotient + std::min(j, rest); };
    const auto chunks = zigzag_chunks(0, equal_shares(length, members));
    for (std::int64_t i = 0; i < members; ++i) {
      const std::int64_t mirror = 2 * members - 1 - i;
      RC_ASSERT(chunks[i][0] == (Chunk{0, start(i), start(i) + size(i)}));
      RC_ASSERT(chunks[i][1] == (Chunk{0, start(mirror), start(mirror) + size(mirror)}));
    }
  }));
}

TEST(Layout, WorkOfARingIsBalanced) {
  for (const int members : {2, 3, 5, 8, 64}) {
    const std::int64_t length = 1024 * members;
    std::int64_t most = 0;
    for (const auto& pair : zigzag_chunks(0, equal_shares(length, members))) {
      most = std::max(most, num_pairs(pair[0]) + num_pairs(pair[1]));
    }
    const double mean = static_cast<double>(length * (length + 1) / 2) / members;
    EXPECT_LE(static_cast<double>(most) / mean - 1, 2.1 * members / static_cast<double>(length));
  }
}

TEST(Layout, ProportionalSharesSumAndFollowTheWeights) {
  EXPECT_THAT(proportional_shares(10, std::vector<std::int64_t>{1, 1, 1}), ElementsAre(4, 3, 3));
  EXPECT_THAT(proportional_shares(5, std::vector<std::int64_t>{0, 3, 1}), ElementsAre(0, 4, 1));
  EXPECT_THAT(proportional_shares(5, std::vector<std::int64_t>{0, 0}), ElementsAre(5, 0));
}

TEST(Layout, QueryBlocksJoinWhereTheyTouch) {
  EXPECT_THAT(query_block_chunks(0, 10, 0, 1), ElementsAre(Chunk{0, 0, 10}));
  EXPECT_THAT(query_block_chunks(0, 10, 0, 2), ElementsAre(Chunk{0, 0, 3}, Chunk{0, 8, 10}));
  EXPECT_THAT(query_block_chunks(0, 10, 1, 2), ElementsAre(Chunk{0, 3, 8}));
}

/// Two sequences of 10 and 6 tokens on two ranks: a ring and a local one.
Plan good_plan() {
  Plan plan;
  plan.lengths = {10, 6};
  MicroBatch micro_batch;
  micro_batch.sequences = {0, 1};
  micro_batch.work = {Ring{0, {0, 1}, {5, 5}}, Ring{1, {1}, {6}}};
  micro_batch.homes = {{{0, 0, 3}, {0, 8, 10}}, {{0, 3, 8}, {1, 0, 6}}};
  micro_batch.kv_source_layer = kv_sources(2);
  plan.micro_batches = {micro_batch};
  plan.ranks.assign(2, training_program(1));
  return plan;
}

std::string finding(const std::function<void(Plan&)>& damage, std::int64_t cap = 0) {
  Plan plan = good_plan();
  damage(plan);
  try {
    validate(plan, {2, 2, cap, 4});
  } catch (const InvalidPlan& error) {
    return error.what();
  }
  return "valid";
}

TEST(Validate, NamesWhatIsWrong) {
  EXPECT_EQ(finding([](Plan&) {}), "valid");
  EXPECT_THAT(finding([](Plan& p) { p.micro_batches[0].work.pop_back(); }),
              HasSubstr("queries [0, 6) of sequence 1 are not computed for head 0"));
  EXPECT_THAT(finding([](Plan& p) {
                p.micro_batches[0].work.push_back(Ring{1, {0}, {6}});
              }),
              HasSubstr("queries [0, 6) of sequence 1 are computed twice, on ranks 1 and on ranks 0"));
  EXPECT_THAT(finding([](Plan& p) {
                std::get<Ring>(p.micro_batches[0].work[0]).shares = {5, 4};
              }),
              HasSubstr("the shares of sequence 0 on ranks 0, 1 sum to 9, but it has 10 tokens"));
  EXPECT_THAT(finding([](Plan& p) {
                std::get<Ring>(p.micro_batches[0].work[0]).ranks = {0, 2};
              }),
              HasSubstr("is on rank 2, but there are ranks 0 to 1"));
  EXPECT_THAT(finding([](Plan& p) { std::get<Ring>(p.micro_batches[0].work[0]).ranks = {1, 1}; }), HasSubstr("has rank 1 twice"));
  EXPECT_THAT(finding([](Plan& p) { p.micro_batches[0].homes[0][1].begin = 7; }),
              HasSubstr("token 7 of sequence 0 has two homes, ranks 1 and 0"));
  EXPECT_THAT(finding([](Plan& p) { p.micro_batches[0].homes[0].pop_back(); }), HasSubstr("token 8 of sequence 0 has no home"));
  EXPECT_THAT(finding([](Plan& p) { p.micro_batches[0].homes.pop_back(); }), HasSubstr("homes for 1 ranks, but there are 2"));
  EXPECT_THAT(finding([](Plan& p) { p.micro_batches[0].sequences = {0}; }), HasSubstr("sequence 1 is in no micro-batch"));
  EXPECT_THAT(finding([](Plan& p) { p.micro_batches[0].kv_source_layer[0] = 1; }), HasSubstr("layer 0 reads keys of layer 1"));
  EXPECT_THAT(finding([](Plan& p) { p.ranks[1].erase(p.ranks[1].begin()); }),
              HasSubstr("backward of micro-batch 0 before its forward"));
  EXPECT_THAT(finding([](Plan& p) { p.ranks[0][1].after = {4}; }), HasSubstr("instruction 1 waits for 4"));
  EXPECT_THAT(finding([](Plan&) {}, 10), HasSubstr("rank 1 holds 11 tokens in attention; the cap is 10"));
}

TEST(Validate, HeadRingsNeedEveryHeadOfEveryQuery) {
  const auto with_parts = [](std::vector<HeadPart> parts) {
    return [parts](Plan& p) { p.micro_batches[0].work[0] = HeadRing{0, parts}; };
  };
  const HeadPart front{0, 3, 0, 1, 1, {0}, {10}};
  EXPECT_EQ(finding(with_parts({front, {3, 4, 0, 1, 2, {0}, {10}}, {3, 4, 1, 2, 2, {1}, {10}}})), "valid");
  EXPECT_THAT(finding(with_parts({front, {3, 4, 0, 1, 2, {1}, {10}}})),
              HasSubstr("queries [3, 8) of sequence 0 are not computed for head 3"));
  EXPECT_THAT(finding(with_parts({front, {2, 4, 0, 1, 1, {1}, {10}}})), HasSubstr("computed twice"));
  EXPECT_THAT(finding(with_parts({front, {3, 5, 0, 1, 1, {1}, {10}}})), HasSubstr("has heads [3, 5) of 4"));
}

TEST(Cursor, WalksADiamond) {
  RankProgram program{{Forward{0}, {}}, {Forward{1}, {0}}, {Backward{0}, {0}}, {ReduceGradients{}, {1, 2}}};
  ProgramCursor cursor(program);
  EXPECT_EQ(cursor.next(), 0);
  EXPECT_EQ(cursor.next(), std::nullopt);
  cursor.finish(0);
  EXPECT_EQ(cursor.next(), 1);
  EXPECT_EQ(cursor.next(), 2);
  EXPECT_EQ(cursor.next(), std::nullopt);
  cursor.finish(2);
  EXPECT_EQ(cursor.next(), std::nullopt);
  cursor.finish(1);
  EXPECT_EQ(cursor.next(), 3);
  EXPECT_THROW(cursor.finish(2), std::logic_error);
  EXPECT_FALSE(cursor.is_done());
  cursor.finish(3);
  EXPECT_TRUE(cursor.is_done());
  const RankProgram backwards{{Forward{0}, {0}}};
  EXPECT_THROW(ProgramCursor{backwards}, std::invalid_argument);
}

TEST(Fingerprint, SeesEveryChangeAndTheDescriptionNamesIt) {
  const std::uint64_t original = fingerprint(good_plan());
  const std::vector<std::string> lines = describe(good_plan());
  EXPECT_EQ(original, fingerprint(good_plan()));
  EXPECT_EQ(lines, describe(good_plan()));
  const std::vector<std::function<void(Plan&)>> changes = {
      [](Plan& p) { p.step = 1; },
      [](Plan& p) { p.lengths[1] = 7; },
      [](Plan& p) { p.policy = "x"; },
      [](Plan& p) {
        std::get<Ring>(p.micro_batches[0].work[0]).shares = {6, 4};
      },
      [](Plan& p) { p.micro_batches[0].homes[1][0].end = 9; },
      [](Plan& p) { p.micro_batches[0].kv_source_layer[1] = 0; },
      [](Plan& p) { p.ranks[1][0].op = Backward{0}; },
      [](Plan& p) { p.is_routed = true; },
      [](Plan& p) { p.micro_batches[0].work[1] = TaskSet{}; },
      [](Plan& p) { p.charged_tokens = p.lengths; },
      [](Plan& p) { p.ranks[0][2].after = {0}; },
      [](Plan& p) { p.micro_batches.emplace_back(); },
  };
  for (std::size_t i = 0; i < changes.size(); ++i) {
    Plan plan = good_plan();
    changes[i](plan);
    EXPECT_NE(original, fingerprint(plan)) << "change " << i;
    EXPECT_NE(lines, describe(plan)) << "change " << i;
  }
}

}  // namespace
}  // namespace ballast::scheduler
