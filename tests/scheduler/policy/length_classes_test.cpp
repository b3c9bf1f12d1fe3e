#include "scheduler/policy/length_classes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <limits>
#include <numeric>

namespace ballast::scheduler {
namespace {

using testing::ElementsAre;

constexpr std::int64_t kAny = std::numeric_limits<std::int64_t>::max();

/// The published dynamic program: least sum of the lengths from `begin` on in at most that many classes.
std::int64_t least_sum(const std::vector<std::int64_t>& lengths, std::size_t begin, int num_classes) {
  if (begin == lengths.size()) return 0;
  if (num_classes == 0) return kAny;
  std::int64_t least = kAny;
  for (std::size_t end = begin + 1; end <= lengths.size(); ++end) {
    const std::int64_t rest = least_sum(lengths, end, num_classes - 1);
    if (rest != kAny) least = std::min(least, lengths[begin] * static_cast<std::int64_t>(end - begin) + rest);
  }
  return least;
}

TEST(LengthClasses, LikeLengthsAreOneClass) {
  // Two classes: 9 and 8 round to 9, which costs 1, and 4, 4, 3 and 2 to 4, which costs 3.
  const std::vector<std::int64_t> lengths{9, 8, 4, 4, 3, 2};
  EXPECT_THAT(rounded_to_classes(lengths, 2, kAny), ElementsAre(9, 9, 4, 4, 4, 4));
  EXPECT_THAT(rounded_to_classes(lengths, 1, kAny), ElementsAre(9, 9, 9, 9, 9, 9));
  EXPECT_THAT(rounded_to_classes(lengths, 16, kAny), ElementsAre(9, 8, 4, 4, 3, 2));
}

TEST(LengthClasses, MoreClassesUntilTheSumIsSmallEnough) {
  const std::vector<std::int64_t> lengths{9, 8, 4, 4, 3, 2};  // 30 tokens, 34 in two classes
  EXPECT_THAT(rounded_to_classes(lengths, 1, 34), ElementsAre(9, 9, 4, 4, 4, 4));
  EXPECT_THAT(rounded_to_classes(lengths, 1, 33), ElementsAre(9, 9, 4, 4, 3, 3));
  EXPECT_THAT(rounded_to_classes(lengths, 1, 30), ElementsAre(9, 8, 4, 4, 3, 2));
}

TEST(LengthClasses, LeastRoundingOfAll) {
  EXPECT_TRUE(rc::check("the same sum as the published dynamic program", [] {
    auto lengths = *rc::gen::resize(9, rc::gen::container<std::vector<std::int64_t>>(rc::gen::inRange<std::int64_t>(1, 60)));
    std::sort(lengths.rbegin(), lengths.rend());
    const int num_classes = *rc::gen::inRange(1, 6);
    const std::vector<std::int64_t> rounded = rounded_to_classes(lengths, num_classes, kAny);
    RC_ASSERT(rounded.size() == lengths.size());
    for (std::size_t i = 0; i < lengths.size(); ++i) RC_ASSERT(rounded[i] >= lengths[i]);
    RC_ASSERT(std::accumulate(rounded.begin(), rounded.end(), std::int64_t{0}) == least_sum(lengths, 0, num_classes));
  }));
}

}  // namespace
}  // namespace ballast::scheduler
