#include "runtime/comm/wait_for_any.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <latch>

#include "tests/support/run_ranks.h"

namespace ballast::comm {
namespace {

TEST(WaitForAny, ReturnsWithTheOneThatComesWhileAnotherDoesNot) {
  std::latch first_was_seen(1);
  support::run_ranks(2, [&](Communicator& world) {
    const std::vector<double> sent{7};
    if (world.rank() == 1) {
      Communicator& late = world;
      const std::unique_ptr<Communicator> early = world.split(0, world.rank());
      early->exchange(std::vector<Send>{{0, buffer(sent)}}, {}).wait();
      first_was_seen.wait();
      late.exchange(std::vector<Send>{{0, buffer(sent)}}, {}).wait();
      return;
    }
    const std::unique_ptr<Communicator> early = world.split(0, world.rank());
    std::vector<double> a(1), b(1);
    Pending late_one = world.exchange({}, std::vector<Receive>{{1, buffer(a)}});
    Pending early_one = early->exchange({}, std::vector<Receive>{{1, buffer(b)}});
    wait_for_any(std::vector<Pending*>{&late_one, &early_one}, world.deadline());
    EXPECT_EQ(b[0], 7);
    EXPECT_FALSE(late_one.poll());
    first_was_seen.count_down();
    late_one.wait();
    EXPECT_EQ(a[0], 7);
  });
}

TEST(WaitForAny, DeadlineNamesWhoIsWaitedForFirst) {
  std::latch is_over(1);
  std::string text;
  support::run_ranks(
      3,
      [&](Communicator& world) {
        if (world.rank() != 0) return is_over.wait();
        std::vector<double> a(1), b(1);
        try {
          Pending one = world.exchange({}, std::vector<Receive>{{2, buffer(a)}});
          Pending other = world.exchange({}, std::vector<Receive>{{1, buffer(b)}});
          wait_for_any(std::vector<Pending*>{&one, &other}, world.deadline());
        } catch (const CommError& error) {
          text = error.what();
        }
        is_over.count_down();
      },
      std::chrono::milliseconds(50));
  EXPECT_THAT(text, testing::HasSubstr("no answer from rank 2 within 0.05 s"));
}

}  // namespace
}  // namespace ballast::comm
