#pragma once
// Simulated time in whole picoseconds: sums do not depend on their order, and a later layer repeats an earlier one exactly.
#include <cstdint>

namespace ballast::scheduler {

using Ticks = std::int64_t;
inline constexpr double kTicksPerSecond = 1e12;

/// Nearest tick. Input: 0 to 4e6 seconds. Throws: std::invalid_argument beyond that.
Ticks to_ticks(double seconds);

inline double to_seconds(Ticks ticks) { return static_cast<double>(ticks) / kTicksPerSecond; }

}  // namespace ballast::scheduler
