#pragma once
// What happens next.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "scheduler/sim/clock.h"

namespace ballast::scheduler {

struct Event {
  Ticks time = 0;
  std::uint64_t id = 0;  ///< what happens; also the order of events of one time
};

/// Events by time, then by id: the same pushes give the same pops.
/// Events of a lane come with growing times, as those of a link do, and keep that order; only the first of each takes part in the
/// sorting. Cost: logarithmic in lanes and in events outside of lanes.
class EventQueue {
 public:
  explicit EventQueue(int num_lanes) : lanes_(static_cast<std::size_t>(num_lanes)) {}
  bool empty() const { return heap_.empty(); }
  Ticks next_time() const { return heap_.front().event.time; }

  void push(const Event& event) { sort_in({event, kNoLane}); }
  /// An event before the last one of its lane is sorted as one outside of lanes.
  void push(int lane, const Event& event) {
    Lane& queue = lanes_[lane];
    if (queue.first == queue.events.size()) {
      queue.events.clear();
      queue.first = 0;
    } else if (event.time < queue.events.back().time) {
      return sort_in({event, kNoLane});
    }
    queue.events.push_back(event);
    if (queue.events.size() - queue.first == 1) sort_in({event, lane});
  }
  Event pop() {
    std::pop_heap(heap_.begin(), heap_.end(), is_later);
    const Entry entry = heap_.back();
    heap_.pop_back();
    if (entry.lane != kNoLane) {
      Lane& queue = lanes_[entry.lane];
      if (++queue.first < queue.events.size()) sort_in({queue.events[queue.first], entry.lane});
    }
    return entry.event;
  }

 private:
  static constexpr int kNoLane = -1;
  struct Entry {
    Event event;
    int lane = kNoLane;
  };
  struct Lane {
    std::vector<Event> events;
    std::size_t first = 0;  ///< that has not happened
  };

  static bool is_later(const Entry& a, const Entry& b) {
    return a.event.time != b.event.time ? a.event.time > b.event.time : a.event.id > b.event.id;
  }
  void sort_in(const Entry& entry) {
    heap_.push_back(entry);
    std::push_heap(heap_.begin(), heap_.end(), is_later);
  }

  std::vector<Entry> heap_;
  std::vector<Lane> lanes_;
};

}  // namespace ballast::scheduler
