// Slots come in order, whether their items came soon or late.
#include "scheduler/sim/calendar.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <map>

namespace ballast::scheduler {
namespace {

TEST(Calendar, GivesTheItemsOfASlotInTheOrderOfTheirComing) {
  Calendar<int> calendar(3);  // slots of 8 ticks
  EXPECT_EQ(calendar.next_slot(), Calendar<int>::kNever);
  calendar.push(17, 1);
  calendar.push(23, 2);
  calendar.push(16, 3);
  calendar.push(8 * 1'000'000, 4);  // far beyond the ring
  EXPECT_EQ(calendar.next_slot(), 2);
  std::vector<int> items{7};
  calendar.take(1, items);
  EXPECT_TRUE(items.empty());
  calendar.take(2, items);
  EXPECT_EQ(items, (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(calendar.next_slot(), 1'000'000);
  calendar.take(1'000'000, items);
  EXPECT_EQ(items, std::vector<int>{4});
  EXPECT_EQ(calendar.next_slot(), Calendar<int>::kNever);
}

TEST(Calendar, LosesNothingAndKeepsOrder) {
  EXPECT_TRUE(rc::check("slots and their items are those of a map", [] {
    Calendar<int> calendar(4);
    std::map<std::int64_t, std::vector<int>> expected;
    std::int64_t now = 0;
    for (int i = *rc::gen::inRange(0, 200); i > 0; --i) {
      if (*rc::gen::inRange(0, 3) > 0) {
        const Ticks time = 16 * now + *rc::gen::element(0, 3, 16, 200, 16 * 8191, 16 * 8192, 16 * 20000);
        calendar.push(time, i);
        expected[calendar.slot_of(time)].push_back(i);
      } else if (!expected.empty()) {
        RC_ASSERT(calendar.next_slot() == expected.begin()->first);
        now = expected.begin()->first;
        std::vector<int> items;
        calendar.take(now, items);
        RC_ASSERT(items == expected.begin()->second);
        expected.erase(expected.begin());
      }
    }
    RC_ASSERT((calendar.next_slot() == Calendar<int>::kNever) == expected.empty());
  }));
}

}  // namespace
}  // namespace ballast::scheduler
