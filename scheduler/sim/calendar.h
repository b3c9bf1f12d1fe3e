#pragma once
// Things that wait for their time, in slots of equal width.
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "scheduler/sim/clock.h"

namespace ballast::scheduler {

/// Items by slot of 2^log_width ticks; within a slot in the order of their coming. A ring of slots holds those that come soon, a
/// heap those that come later. Cost: constant for an item that comes within 8192 slots, logarithmic for one beyond.
template <typename Item>
class Calendar {
 public:
  static constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

  explicit Calendar(int log_width) : log_width_(log_width), slots_(kNumSlots), is_filled_(kNumSlots / 64, 0) {}

  std::int64_t slot_of(Ticks time) const { return time >> log_width_; }

  /// Input: a time that is not before the slot that was taken last.
  void push(Ticks time, const Item& item) {
    const std::int64_t slot = slot_of(time);
    if (slot < first_ + kNumSlots) return put(slot, item);
    far_.push_back({slot, num_far_++, item});
    std::push_heap(far_.begin(), far_.end(), is_later);
  }

  /// The first slot that holds something; kNever if none does.
  std::int64_t next_slot() const {
    if (num_near_ == 0) return far_.empty() ? kNever : far_.front().slot;
    const std::size_t begin = static_cast<std::size_t>(first_ % kNumSlots);
    std::uint64_t bits = is_filled_[begin / 64] & (~std::uint64_t{0} << begin % 64);
    for (std::size_t word = begin / 64;; bits = is_filled_[word]) {
      if (bits != 0) {
        const std::int64_t at = static_cast<std::int64_t>(64 * word) + std::countr_zero(bits);
        return first_ + (at - static_cast<std::int64_t>(begin) + kNumSlots) % kNumSlots;
      }
      word = (word + 1) % is_filled_.size();
    }
  }

  /// Moves on to a slot, which may be empty, and exchanges its items for `items`. Input: no slot before it holds something.
  void take(std::int64_t slot, std::vector<Item>& items) {
    first_ = slot;
    while (!far_.empty() && far_.front().slot < first_ + kNumSlots) {
      std::pop_heap(far_.begin(), far_.end(), is_later);
      put(far_.back().slot, far_.back().item);
      far_.pop_back();
    }
    const std::size_t at = static_cast<std::size_t>(slot % kNumSlots);
    items.clear();
    items.swap(slots_[at]);
    num_near_ -= items.size();
    is_filled_[at / 64] &= ~(std::uint64_t{1} << at % 64);
  }

 private:
  static constexpr std::int64_t kNumSlots = 8192;
  struct Far {
    std::int64_t slot = 0;
    std::uint64_t order = 0;
    Item item;
  };

  static bool is_later(const Far& a, const Far& b) { return std::pair(a.slot, a.order) > std::pair(b.slot, b.order); }
  void put(std::int64_t slot, const Item& item) {
    const std::size_t at = static_cast<std::size_t>(slot % kNumSlots);
    slots_[at].push_back(item);
    is_filled_[at / 64] |= std::uint64_t{1} << at % 64;
    ++num_near_;
  }

  int log_width_;
  std::int64_t first_ = 0;  ///< slots of the ring begin here
  std::vector<std::vector<Item>> slots_;
  std::vector<std::uint64_t> is_filled_;
  std::size_t num_near_ = 0;
  std::vector<Far> far_;
  std::uint64_t num_far_ = 0;
};

}  // namespace ballast::scheduler
