#pragma once
#include <cstdint>

namespace ballast::metrics {

/// Host memory of this process.
struct HostMemory {
  std::int64_t resident_bytes = 0;       ///< now
  std::int64_t peak_resident_bytes = 0;  ///< most so far
};

/// Reads /proc/self/status.
/// Throws: std::runtime_error when it lacks a line.
HostMemory host_memory();

}  // namespace ballast::metrics
