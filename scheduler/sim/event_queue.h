#pragma once
// What happens next.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "scheduler/sim/calendar.h"

namespace ballast::scheduler {

struct Event {
  Ticks time = 0;
  std::uint64_t id = 0;  ///< what happens; also the order of events of one time
};

/// Events by time, then by id: the same pushes give the same pops. Only those of one slot of a calendar are sorted at a time.
class EventQueue {
 public:
  explicit EventQueue(int log_width) : calendar_(log_width) {}

  /// Input: a time that is not before the last slot moved to.
  void push(const Event& event) {
    if (calendar_.slot_of(event.time) != slot_) return calendar_.push(event.time, event);
    events_.push_back(event);
    std::push_heap(events_.begin(), events_.end(), is_later);
  }

  /// The first slot that holds events; Calendar::kNever if none does.
  std::int64_t next_slot() const { return events_.empty() ? calendar_.next_slot() : slot_; }
  /// Input: no slot before it holds events.
  void move_to(std::int64_t slot) {
    if (slot == slot_) return;
    slot_ = slot;
    calendar_.take(slot, events_);
    std::make_heap(events_.begin(), events_.end(), is_later);
  }

  /// Of the slot moved to.
  bool empty() const { return events_.empty(); }
  Ticks next_time() const { return events_.front().time; }
  Event pop() {
    std::pop_heap(events_.begin(), events_.end(), is_later);
    const Event event = events_.back();
    events_.pop_back();
    return event;
  }

 private:
  static bool is_later(const Event& a, const Event& b) { return a.time != b.time ? a.time > b.time : a.id > b.id; }

  Calendar<Event> calendar_;
  std::int64_t slot_ = -1;
  std::vector<Event> events_;  ///< heap
};

}  // namespace ballast::scheduler
