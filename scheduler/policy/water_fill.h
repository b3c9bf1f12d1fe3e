#pragma once
#include <span>
#include <vector>

namespace ballast::scheduler {

/// What pouring did: what each vessel got, the level reached, and what found no room.
struct Poured {
  std::vector<double> added;
  double level = 0;
  double left_over = 0;
};

/// Pours `amount` into vessels so that the lowest rise first: vessel i, of width `widths[i]` and content `contents[i]`, stands at
/// contents[i] / widths[i] and takes at most `rooms[i]`.
/// Input: widths > 0, amount and rooms >= 0. Cost: n log n. Deterministic: ties by index.
Poured pour(double amount, std::span<const double> contents, std::span<const double> widths, std::span<const double> rooms);

}  // namespace ballast::scheduler
