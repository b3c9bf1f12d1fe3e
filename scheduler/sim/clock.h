#pragma once
// Simulated time in whole picoseconds: sums do not depend on their order, and a later layer repeats an earlier one exactly.
#include <cstdint>

namespace ballast::scheduler {

using Ticks = std::int64_t;
inline constexpr double kTicksPerSecond = 1e12;

/// The clock ends here, after 104 days: a little before 64 bits do.
inline constexpr double kMostSeconds = 9e6;
inline constexpr Ticks kMostTicks = 9'000'000'000'000'000'000;

/// Both throw std::invalid_argument with the seconds, the limit and what to change.
[[noreturn]] void refuse_operation(double seconds);
[[noreturn]] void refuse_step(double seconds);

/// Nearest tick. Input: 0 to kMostSeconds. Throws: std::invalid_argument beyond that.
inline Ticks to_ticks(double seconds) {
  if (!(seconds >= 0 && seconds <= kMostSeconds)) refuse_operation(seconds);
  return static_cast<Ticks>(seconds * kTicksPerSecond + 0.5);
}

inline double to_seconds(Ticks ticks) { return static_cast<double>(ticks) / kTicksPerSecond; }

/// time + count * duration. Input: none is negative. Throws: std::invalid_argument beyond kMostSeconds.
inline Ticks later(Ticks time, Ticks duration, std::int64_t count = 1) {
  const __int128 result = time + static_cast<__int128>(duration) * count;
  if (result > kMostTicks) refuse_step(static_cast<double>(result) / kTicksPerSecond);
  return static_cast<Ticks>(result);
}

/// ticks * part / all, rounded down, however large the product. Input: none is negative, all > 0.
/// Throws: std::invalid_argument beyond kMostSeconds.
inline Ticks part_of(Ticks ticks, std::int64_t part, std::int64_t all) {
  const __int128 result = static_cast<__int128>(ticks) * part / all;
  if (result > kMostTicks) refuse_step(static_cast<double>(result) / kTicksPerSecond);
  return static_cast<Ticks>(result);
}

}  // namespace ballast::scheduler
