// Events come in the order of their times, whichever way they were pushed.
#include "scheduler/sim/event_queue.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <set>
#include <tuple>

namespace ballast::scheduler {
namespace {

/// Moves on if nothing is left here. Returns: false if nothing is left at all.
bool goes_on(EventQueue& queue) {
  if (queue.next_slot() == Calendar<Event>::kNever) return false;
  queue.move_to(queue.next_slot());
  return true;
}

TEST(EventQueue, TimeThenId) {
  EventQueue queue(1);
  for (const Event& event : {Event{5, 1}, Event{3, 9}, Event{3, 2}, Event{2, 7}}) queue.push(event);
  std::vector<std::pair<Ticks, std::uint64_t>> order;
  while (goes_on(queue)) {
    const Ticks next = queue.next_time();
    const Event event = queue.pop();
    EXPECT_EQ(event.time, next);
    order.emplace_back(event.time, event.id);
    if (event.time == 2) queue.push({3, 1});  // into the slot at hand
  }
  EXPECT_EQ(order, (std::vector<std::pair<Ticks, std::uint64_t>>{{2, 7}, {3, 1}, {3, 2}, {3, 9}, {5, 1}}));
}

TEST(EventQueue, PopsAreThePushesInOrder) {
  EXPECT_TRUE(rc::check("pops grow and are the pushes", [] {
    EventQueue queue(*rc::gen::inRange(0, 6));
    std::set<std::tuple<Ticks, std::uint64_t>> waiting;
    Ticks now = 0;
    for (int i = *rc::gen::inRange(0, 200); i > 0; --i) {
      if (*rc::gen::inRange(0, 3) > 0) {
        const Event event{now + *rc::gen::element(0, 1, 7, 100, 1'000'000), static_cast<std::uint64_t>(i)};
        queue.push(event);
        waiting.emplace(event.time, event.id);
      } else if (goes_on(queue)) {
        RC_ASSERT(!queue.empty());
        const Event event = queue.pop();
        RC_ASSERT(std::tuple(event.time, event.id) == *waiting.begin());
        waiting.erase(waiting.begin());
        now = event.time;
      }
    }
    RC_ASSERT((queue.next_slot() == Calendar<Event>::kNever) == waiting.empty());
  }));
}

}  // namespace
}  // namespace ballast::scheduler
