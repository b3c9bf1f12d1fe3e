#pragma once
// Simulated time in whole picoseconds: sums do not depend on their order, and a later layer repeats an earlier one exactly.
#include <cstdint>

namespace ballast::scheduler {

using Ticks = std::int64_t;
inline constexpr double kTicksPerSecond = 1e12;

inline constexpr double kMostSeconds = 4e6;

[[noreturn]] void refuse_seconds(double seconds);

/// Nearest tick. Input: 0 to kMostSeconds. Throws: std::invalid_argument beyond that.
inline Ticks to_ticks(double seconds) {
  if (!(seconds >= 0 && seconds <= kMostSeconds)) refuse_seconds(seconds);
  return static_cast<Ticks>(seconds * kTicksPerSecond + 0.5);
}

inline double to_seconds(Ticks ticks) { return static_cast<double>(ticks) / kTicksPerSecond; }

}  // namespace ballast::scheduler
