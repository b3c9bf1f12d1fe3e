#pragma once
// What this machine can do for a run: cores, memory, limits and the file system. No torch, no MPI.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace ballast::launch {

enum class CheckStatus { kOk, kWarn, kFail };

/// One line of the report.
struct Check {
  std::string name;  ///< "host.cores"
  CheckStatus status = CheckStatus::kOk;
  std::string found;
  std::string wanted;
  std::string advice;  ///< what to change; empty when all is well
};

/// "OK", "WARN", "FAIL".
const char* name(CheckStatus status);

/// Value of an environment variable; nullptr where it is not set.
using Environment = std::function<const char*(const char*)>;

/// Limits of the control group that this process is in, version 1 or 2; nothing where there is no limit.
struct GroupLimits {
  std::optional<double> cores;
  std::optional<std::int64_t> memory_bytes;
};
/// Input: `root` is where control groups are mounted, /sys/fs/cgroup.
GroupLimits group_limits(const std::filesystem::path& root);

/// Cores against threads, memory, locked memory, open files, shared memory.
std::vector<Check> host_checks(const Environment& environment);

/// Free space, and whether exclusive creation, fsync, rename and rename without replacement do in `folder` what a checkpoint
/// needs. Writes a few small files below the nearest existing folder and removes them.
std::vector<Check> storage_checks(const std::filesystem::path& folder);

}  // namespace ballast::launch
