// What the simulated clock holds, and what it refuses.
#include "scheduler/sim/clock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <stdexcept>

namespace ballast::scheduler {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "no error";
}

TEST(Clock, TakesNearestTicksUpToItsEnd) {
  EXPECT_EQ(to_ticks(0), 0);
  EXPECT_EQ(to_ticks(2.6e-12), 3);
  EXPECT_EQ(to_ticks(kMostSeconds), kMostTicks);
  for (const double seconds : {-1.0, 9.1e6, 1e300, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_THAT(message_of([=] { to_ticks(seconds); }), HasSubstr("the simulated clock takes 0 to 9000000")) << seconds;
  }
}

TEST(Clock, RefusesTimesBeyondItsEnd) {
  EXPECT_EQ(later(5, 7), 12);
  EXPECT_EQ(later(5, 7, 3), 26);
  EXPECT_EQ(later(kMostTicks - 1, 1), kMostTicks);
  EXPECT_THAT(message_of([] { later(kMostTicks, 1); }), HasSubstr("clock ends after 9000000"));
  // Both beyond 64 bits.
  EXPECT_THAT(message_of([] { later(to_ticks(8e6), to_ticks(8e6)); }), HasSubstr("the step takes 16000000 seconds or more"));
  EXPECT_THAT(message_of([] { later(0, to_ticks(1e6), 1000); }),
              AllOf(HasSubstr("the step takes 1000000000 seconds or more"), HasSubstr("make the step smaller")));
}

TEST(Clock, PartsOfLongTimesAreExact) {
  EXPECT_EQ(part_of(10, 2, 3), 6);
  EXPECT_EQ(part_of(kMostTicks, 2999, 3000), kMostTicks / 3000 * 2999);
  EXPECT_EQ(part_of(kMostTicks, 3000, 3000), kMostTicks);
  EXPECT_THAT(message_of([] { part_of(kMostTicks, 3, 2); }), HasSubstr("13500000 seconds or more"));
}

}  // namespace
}  // namespace ballast::scheduler
