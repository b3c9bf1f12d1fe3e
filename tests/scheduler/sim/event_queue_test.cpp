// Events come in the order of their times, whichever way they were pushed.
#include "scheduler/sim/event_queue.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <set>
#include <tuple>

namespace ballast::scheduler {
namespace {

TEST(EventQueue, TimeThenId) {
  EventQueue queue(1);
  queue.push({5, 1});
  queue.push(0, {3, 9});
  queue.push({3, 2});
  queue.push(0, {3, 1});  // its lane keeps its order
  queue.push(0, {2, 7});  // before the last one of its lane
  std::vector<std::pair<Ticks, std::uint64_t>> order;
  while (!queue.empty()) {
    EXPECT_GE(queue.next_time(), order.empty() ? 0 : order.back().first);
    const Event event = queue.pop();
    order.emplace_back(event.time, event.id);
  }
  EXPECT_EQ(order, (std::vector<std::pair<Ticks, std::uint64_t>>{{2, 7}, {3, 2}, {3, 9}, {3, 1}, {5, 1}}));
}

TEST(EventQueue, LanesDoNotChangeTheTimes) {
  EXPECT_TRUE(rc::check("pops grow and are the pushes", [] {
    EventQueue queue(4);
    std::multiset<std::pair<Ticks, std::uint64_t>> waiting;
    Ticks now = 0;
    for (int i = *rc::gen::inRange(0, 200); i > 0; --i) {
      if (*rc::gen::inRange(0, 3) > 0) {
        const Event event{now + *rc::gen::inRange(0, 5), *rc::gen::inRange<std::uint64_t>(0, 9)};
        const int lane = *rc::gen::inRange(-1, 4);
        lane < 0 ? queue.push(event) : queue.push(lane, event);
        waiting.emplace(event.time, event.id);
      } else if (!queue.empty()) {
        const Event event = queue.pop();
        RC_ASSERT(event.time == waiting.begin()->first);
        const auto at = waiting.find({event.time, event.id});
        RC_ASSERT(at != waiting.end());
        waiting.erase(at);
        now = event.time;
      }
    }
    RC_ASSERT(queue.empty() == waiting.empty());
  }));
}

}  // namespace
}  // namespace ballast::scheduler
