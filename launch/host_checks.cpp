#include "launch/host_checks.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <fstream>
#include <string_view>

namespace ballast::launch {
namespace {

constexpr std::int64_t kMebibyte = std::int64_t{1} << 20;
constexpr std::int64_t kGibibyte = std::int64_t{1} << 30;

std::string size_text(std::int64_t bytes) {
  return bytes >= kGibibyte ? fmt::format("{:.1f} GiB", static_cast<double>(bytes) / kGibibyte)
                            : fmt::format("{:.1f} MiB", static_cast<double>(bytes) / kMebibyte);
}

std::string first_line(const std::filesystem::path& file) {
  std::string line;
  std::getline(std::ifstream(file), line);
  return line;
}

std::optional<std::int64_t> parse_integer(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// A positive number from the environment.
std::optional<std::int64_t> variable(const Environment& environment, const char* name) {
  const char* text = environment(name);
  const auto value = text ? parse_integer(text) : std::nullopt;
  return value && *value > 0 ? value : std::nullopt;
}

/// Size of memory as the kernel states it, in bytes; 0 if it does not.
std::int64_t memory_info(std::string_view key) {
  std::ifstream file("/proc/meminfo");
  for (std::string word; file >> word;) {
    std::int64_t kibibytes = 0;
    if (word == key && file >> kibibytes) return kibibytes * 1024;
  }
  return 0;
}

Check core_check(const Environment& environment, const GroupLimits& limits) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  int cores =
      sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  const int by_affinity = cores;
  if (limits.cores) cores = std::max(1, std::min(cores, static_cast<int>(std::ceil(*limits.cores))));
  // Without OMP_NUM_THREADS a rank starts as many threads as it may use cores.
  const std::int64_t threads = variable(environment, "OMP_NUM_THREADS").value_or(by_affinity);
  const std::int64_t ranks = variable(environment, "OMPI_COMM_WORLD_LOCAL_SIZE").value_or(1);

  Check check{"host.cores", CheckStatus::kOk, {}, "ranks x threads at most the cores", {}};
  check.found = fmt::format("{} cores by affinity{}, {} of {} installed; {} rank{} x {} thread{}", by_affinity,
                            limits.cores ? fmt::format(", {:.2f} by control group", *limits.cores) : "", cores,
                            sysconf(_SC_NPROCESSORS_CONF), ranks, ranks == 1 ? "" : "s", threads, threads == 1 ? "" : "s");
  if (ranks * threads > cores) {
    check.status = CheckStatus::kWarn;
    check.advice = fmt::format("set OMP_NUM_THREADS={}, or check the binding of the launcher (mpirun --bind-to none)",
                               std::max<std::int64_t>(1, cores / ranks));
  }
  return check;
}

Check memory_check(const GroupLimits& limits) {
  constexpr std::int64_t kWanted = 4 * kGibibyte;
  const std::int64_t total = memory_info("MemTotal:");
  const std::int64_t usable = limits.memory_bytes ? std::min(*limits.memory_bytes, total) : total;
  Check check{"host.memory", CheckStatus::kOk, {}, fmt::format("{} for the quickstart and the build", size_text(kWanted)), {}};
  check.found =
      fmt::format("{} usable{}, {} free now", size_text(usable), limits.memory_bytes ? " (limit of the control group)" : "",
                  size_text(std::min(usable, memory_info("MemAvailable:"))));
  if (usable < kWanted) {
    check.status = CheckStatus::kWarn;
    check.advice = "raise the limit, or train a smaller model with fewer tokens per step";
  }
  return check;
}

Check limit_check(const char* name, int resource, std::int64_t wanted, bool is_needed, std::string wanted_text,
                  std::string advice) {
  rlimit limit{};
  getrlimit(static_cast<__rlimit_resource>(resource), &limit);
  const bool is_unlimited = limit.rlim_cur == RLIM_INFINITY;
  Check check{name, CheckStatus::kOk, is_unlimited ? "unlimited" : fmt::format("{}", limit.rlim_cur), std::move(wanted_text), {}};
  if (is_needed && !is_unlimited && static_cast<std::int64_t>(limit.rlim_cur) < wanted) {
    check.status = CheckStatus::kWarn;
    check.advice = std::move(advice);
  }
  return check;
}

Check shared_memory_check(const Environment& environment) {
  // Open MPI maps about 4 MiB for each rank of the node.
  const std::int64_t ranks = variable(environment, "OMPI_COMM_WORLD_LOCAL_SIZE").value_or(sysconf(_SC_NPROCESSORS_ONLN));
  const std::int64_t wanted = std::max<std::int64_t>(32, 8 * ranks) * kMebibyte;
  Check check{"host.shared_memory", CheckStatus::kOk, {}, fmt::format("{} free in /dev/shm", size_text(wanted)), {}};
  struct statvfs status {};
  if (statvfs("/dev/shm", &status) != 0) {
    check.status = CheckStatus::kWarn;
    check.found = fmt::format("/dev/shm: {}", std::strerror(errno));
    check.advice = "mount a tmpfs on /dev/shm, or keep MPI off shared memory: OMPI_MCA_btl=self,tcp";
    return check;
  }
  const auto free_bytes = static_cast<std::int64_t>(status.f_bavail) * static_cast<std::int64_t>(status.f_frsize);
  check.found = fmt::format("{} free in /dev/shm", size_text(free_bytes));
  if (free_bytes < wanted) {
    check.status = CheckStatus::kWarn;
    check.advice = "enlarge /dev/shm (docker: --shm-size=1g)";
  }
  return check;
}

/// What the operating system refused, as text.
class Refused {
 public:
  explicit Refused(std::string call) : text_(fmt::format("{}: {}", call, std::strerror(errno))) {}
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

void must(bool succeeded, const char* call) {
  if (!succeeded) throw Refused(call);
}

/// A folder of its own that goes away with everything in it.
struct ScratchFolder {
  explicit ScratchFolder(const std::filesystem::path& parent) {
    std::string name = (parent / ".ballast-doctor-XXXXXX").string();
    must(mkdtemp(name.data()) != nullptr, "mkdtemp");
    path = name;
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::filesystem::path path;
};

/// The steps by which a checkpoint is published. Throws: Refused.
void try_to_publish(const std::filesystem::path& parent) {
  const ScratchFolder scratch(parent);
  const auto file = [&](const char* name) { return (scratch.path / name).string(); };
  const auto create = [&](const char* name) { return open(file(name).c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600); };
  for (const char* name : {"a", "b", "c"}) {
    const int descriptor = create(name);
    must(descriptor >= 0, "open with O_CREAT and O_EXCL");
    const bool is_written = write(descriptor, name, 1) == 1;
    const bool is_synced = is_written && fsync(descriptor) == 0;
    must(close(descriptor) == 0, "close");
    must(is_written, "write");
    must(is_synced, "fsync of a file");
  }
  const int again = create("a");
  if (again >= 0) close(again);
  must(again < 0 && errno == EEXIST, "open with O_EXCL replaced an existing file");
  must(rename(file("a").c_str(), file("b").c_str()) == 0, "rename over an existing file");
  must(first_line(file("b")) == "a" && !std::filesystem::exists(file("a")), "rename left the old content");
  must(renameat2(AT_FDCWD, file("b").c_str(), AT_FDCWD, file("c").c_str(), RENAME_NOREPLACE) != 0 && errno == EEXIST,
       "renameat2 with RENAME_NOREPLACE");
  must(renameat2(AT_FDCWD, file("b").c_str(), AT_FDCWD, file("d").c_str(), RENAME_NOREPLACE) == 0,
       "renameat2 with RENAME_NOREPLACE to a free name");
  const int folder = open(scratch.path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  must(folder >= 0, "open of a folder");
  const bool is_synced = fsync(folder) == 0;
  close(folder);
  must(is_synced, "fsync of a folder");
}

}  // namespace

const char* name(CheckStatus status) {
  switch (status) {
    case CheckStatus::kOk:
      return "OK";
    case CheckStatus::kWarn:
      return "WARN";
    case CheckStatus::kFail:
      return "FAIL";
  }
  return "?";
}

GroupLimits group_limits(const std::filesystem::path& root) {
  // A number of the file, 0 where there is none ("max", no file).
  const auto number = [&](const char* file, int word) {
    std::string text;
    for (std::ifstream stream(root / file); word >= 0 && stream >> text;) --word;
    return word < 0 ? parse_integer(text).value_or(0) : 0;
  };
  // Version 2, then version 1, whose "no limit" is -1 and a number near 2^63.
  const bool is_v2 = std::filesystem::exists(root / "cpu.max");
  const std::int64_t quota = is_v2 ? number("cpu.max", 0) : number("cpu/cpu.cfs_quota_us", 0);
  const std::int64_t period = is_v2 ? number("cpu.max", 1) : number("cpu/cpu.cfs_period_us", 0);
  const bool is_memory_v2 = std::filesystem::exists(root / "memory.max");
  const std::int64_t memory = is_memory_v2 ? number("memory.max", 0) : number("memory/memory.limit_in_bytes", 0);

  GroupLimits limits;
  if (quota > 0 && period > 0) limits.cores = static_cast<double>(quota) / static_cast<double>(period);
  if (memory > 0 && memory < std::int64_t{1} << 60) limits.memory_bytes = memory;
  return limits;
}

std::vector<Check> host_checks(const Environment& environment) {
  const GroupLimits limits = group_limits("/sys/fs/cgroup");
  const bool has_rdma = std::filesystem::exists("/sys/class/infiniband");
  return {core_check(environment, limits), memory_check(limits),
          limit_check("host.locked_memory", RLIMIT_MEMLOCK, 64 * kMebibyte, has_rdma,
                      has_rdma ? "unlimited, for the RDMA cards here" : "any, without RDMA cards", "ulimit -l unlimited"),
          limit_check("host.open_files", RLIMIT_NOFILE, 1024, true, "1024: a socket for each peer, files of the run",
                      "ulimit -n 4096"),
          shared_memory_check(environment)};
}

std::vector<Check> storage_checks(const std::filesystem::path& folder) {
  std::filesystem::path existing = std::filesystem::absolute(folder).lexically_normal();
  while (!std::filesystem::is_directory(existing) && existing.has_parent_path() && existing != existing.parent_path()) {
    existing = existing.parent_path();
  }
  Check space{"storage.space", CheckStatus::kOk, {}, "1.0 GiB: room for three checkpoints of a small run", {}};
  std::error_code error;
  const auto free_bytes = std::filesystem::space(existing, error);
  space.found = error
                    ? error.message()
                    : fmt::format("{} free in {}", size_text(static_cast<std::int64_t>(free_bytes.available)), existing.string());
  if (error || free_bytes.available < static_cast<std::uintmax_t>(kGibibyte)) {
    space.status = CheckStatus::kWarn;
    space.advice = "make room, or set train.run_folder to another file system";
  }
  Check semantics{"storage.publish",
                  CheckStatus::kOk,
                  fmt::format("all as wanted in {}", existing.string()),
                  "exclusive creation, fsync of files and folders, rename with and without replacement",
                  {}};
  try {
    try_to_publish(existing);
  } catch (const Refused& refused) {
    semantics.status = CheckStatus::kFail;
    semantics.found = fmt::format("{} in {}", refused.text(), existing.string());
    semantics.advice =
        "checkpoints are not safe there; set train.run_folder to a folder that you may write on a local file system";
  }
  return {space, semantics};
}

}  // namespace ballast::launch
