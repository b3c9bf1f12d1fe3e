#include "scheduler/policy/pack.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ballast::scheduler {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const std::vector<std::int64_t> kLengths{5, 9, 3, 4};
const std::vector<std::int64_t> kSequences{2, 0, 3};  // positions [0, 3), [3, 8), [8, 12)

TEST(Pack, CutsAcrossSequences) {
  const Pack pack(kSequences, kLengths);
  EXPECT_EQ(pack.num_tokens(), 12);
  EXPECT_THAT(pack.cut(0, 12), ElementsAre(Chunk{2, 0, 3}, Chunk{0, 0, 5}, Chunk{3, 0, 4}));
  EXPECT_THAT(pack.cut(2, 9), ElementsAre(Chunk{2, 2, 3}, Chunk{0, 0, 5}, Chunk{3, 0, 1}));
  EXPECT_THAT(pack.cut(3, 8), ElementsAre(Chunk{0, 0, 5}));
  EXPECT_THAT(pack.cut(4, 4), IsEmpty());
  EXPECT_THAT(pack.cut(12, 12), IsEmpty());
  EXPECT_EQ(Pack({}, kLengths).num_tokens(), 0);
}

TEST(Pack, SparePartsComeFirst) {
  const auto parts = Pack(kSequences, kLengths).equal_parts(5);
  EXPECT_THAT(parts[0], ElementsAre(Chunk{2, 0, 3}));
  EXPECT_THAT(parts[1], ElementsAre(Chunk{0, 0, 3}));
  EXPECT_THAT(parts[2], ElementsAre(Chunk{0, 3, 5}));
  EXPECT_THAT(parts[3], ElementsAre(Chunk{3, 0, 2}));
  EXPECT_THAT(parts[4], ElementsAre(Chunk{3, 2, 4}));
}

}  // namespace
}  // namespace ballast::scheduler
