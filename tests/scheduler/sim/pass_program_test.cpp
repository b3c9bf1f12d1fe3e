// Who waits for what.
#include "scheduler/sim/pass_program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ballast::scheduler {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Parcel parcel(Payload payload, int src, int dst, const Chunk& chunk, std::int64_t num_rows = 1) {
  return {payload, 0, 0, src, dst, chunk, num_rows};
}

/// Two sequences, each on a ring of three, in one queue.
std::vector<AttentionSlice> two_rings(Zone zone) {
  AttentionSlice slice;
  slice.head_end = 2;
  slice.zone = zone;
  slice.ranks = {0, 1, 2};
  AttentionSlice other = slice;
  other.sequence = 1;
  return {slice, other};
}

TEST(PassProgram, MessagesBeginWithTheNextRankAndFindTheirExchange) {
  const std::vector<AttentionSlice> slices = two_rings(Zone::kNode);
  PassRates rates;
  rates.row_bytes = 10;
  PassProgramBuilder builder(slices, rates);
  for (int r = 0; r < 3; ++r) {
    AttentionExchange exchange;
    for (int peer = 0; peer < 3; ++peer) {
      exchange.sends.push_back(parcel(Payload::kQuery, r, peer, {0, 0, 1}, 1 + peer));
      if (peer != r) exchange.sends.push_back(parcel(Payload::kKeyValue, r, peer, {0, 0, 1}, 2));
      exchange.receives.push_back(parcel(Payload::kQuery, peer, r, {0, 0, 1}, 1 + r));
    }
    RankAttention attention;
    attention.exchanges.push_back(exchange);
    builder.add_rank(attention, {});
  }
  const PassProgram program = builder.finish();
  ASSERT_EQ(program.messages.size(), 6u);
  EXPECT_EQ(program.messages[2].src, 1);
  EXPECT_EQ(program.messages[2].dst, 2);
  EXPECT_EQ(program.messages[2].bytes, (3 + 2) * 10);
  EXPECT_EQ(program.messages[2].dst_exchange, 2);
  EXPECT_EQ(program.messages[3].dst, 0);
  for (const ProgramExchange& exchange : program.exchanges) EXPECT_EQ(exchange.num_receives, 2);
  EXPECT_EQ(program.exchanges[1].needs, bit(TokenGroup::kReady));
}

TEST(PassProgram, TasksOfOneRoundAreOneWhereTheyGoFirst) {
  for (const Zone zone : {Zone::kCluster, Zone::kNode}) {
    const std::vector<AttentionSlice> slices = two_rings(zone);
    PassRates rates;
    rates.head_pair_seconds = 1;
    rates.charge = {1, 2};
    PassProgramBuilder builder(slices, rates);
    RankAttention attention;
    attention.exchanges.push_back({Stage::kDispatch, 0, 0, {parcel(Payload::kQuery, 0, 0, {0, 0, 1})}, {}});
    attention.tasks = {{0, 0, 0, 0, 0, 3}, {0, 0, 1, 0, 0, 4}};
    builder.add_rank(attention, {});
    const PassProgram program = builder.finish();
    if (zone == Zone::kCluster) {
      ASSERT_EQ(program.tasks.size(), 1u);
      EXPECT_EQ(program.tasks[0].ticks, to_ticks(2 * (3 + 4 * 4)));
      EXPECT_EQ(program.tasks[0].sequence, -1);
    } else {
      ASSERT_EQ(program.tasks.size(), 2u);
      EXPECT_EQ(program.tasks[1].ticks, to_ticks(2 * 4 * 4));
    }
  }
}

TEST(PassProgram, RefusesEndsThatDisagree) {
  const std::vector<AttentionSlice> slices = two_rings(Zone::kNode);
  const PassRates rates;
  const auto refusal = [&](const RankAttention& zero, const RankAttention& one) -> std::string {
    try {
      PassProgramBuilder builder(slices, rates);
      builder.add_rank(zero, {});
      builder.add_rank(one, {});
      builder.finish();
    } catch (const std::logic_error& error) {
      return error.what();
    }
    return "no error";
  };
  RankAttention sender, receiver, both;
  sender.exchanges.push_back({Stage::kRotate, 0, 1, {parcel(Payload::kKeyValue, 0, 1, {0, 0, 1})}, {}});
  receiver.exchanges.push_back({Stage::kRotate, 0, 1, {}, {parcel(Payload::kKeyValue, 0, 1, {0, 0, 1})}});
  EXPECT_EQ(refusal(sender, receiver), "no error");
  EXPECT_THAT(refusal(sender, {}), HasSubstr("rank 0 sends 0 bytes to rank 1, which takes no part"));
  EXPECT_THAT(refusal({}, receiver), HasSubstr("1 messages are expected, 0 are sent"));
  RankAttention idle_task;
  idle_task.tasks.push_back({0, 0, 0, 0, 0, 1});
  EXPECT_THAT(refusal({}, idle_task), HasSubstr("rank 1 computes in queue 0, round 0, what no exchange brings"));
}

}  // namespace
}  // namespace ballast::scheduler
