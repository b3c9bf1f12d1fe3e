#include "scheduler/plan/late_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ballast::scheduler {
namespace {

using testing::ElementsAre;

Parcel output(int src, int dst, const Chunk& chunk) { return {Payload::kOutput, 0, 0, src, dst, chunk, 1}; }

TEST(LateTokens, AreThoseWhoseOutputsComeFromElsewhere) {
  RankAttention attention;
  attention.exchanges.push_back(
      {Stage::kReturn,
       0,
       0,
       {},
       {output(0, 0, {3, 0, 100}), output(1, 0, {3, 10, 20}), output(1, 0, {3, 40, 50}), output(2, 0, {3, 15, 30})}});
  const LateTokens late(attention);
  EXPECT_THAT(late.ranges(), ElementsAre(Chunk{3, 10, 30}, Chunk{3, 40, 50}));
  const TokenGroups is_late = bit(TokenGroup::kLate), is_ready = bit(TokenGroup::kReady);
  EXPECT_EQ(late.groups({3, 10, 30}), is_late);
  EXPECT_EQ(late.groups({3, 12, 13}), is_late);
  EXPECT_EQ(late.groups({3, 30, 40}), is_ready);
  EXPECT_EQ(late.groups({3, 0, 10}), is_ready);
  EXPECT_EQ(late.groups({3, 9, 11}), is_late | is_ready);
  EXPECT_EQ(late.groups({3, 25, 45}), is_late | is_ready);
  EXPECT_EQ(late.groups({2, 10, 30}), is_ready);
  EXPECT_EQ(late.groups({4, 10, 30}), is_ready);
}

}  // namespace
}  // namespace ballast::scheduler
