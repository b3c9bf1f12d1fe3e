#include "runtime/checkpoint/fault_hook.h"

#include <fmt/format.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <stdexcept>

namespace ballast::checkpoint {
namespace {

constexpr int kKill = -1;
std::atomic<std::int64_t> calls_left = 0;  // 0 or less: no fault to come
std::atomic<int> fault_code = 0;

const bool is_set_from_environment = [] {
  if (const char* spec = std::getenv("BALLAST_TEST_FAULT")) set_fault(spec);
  return true;
}();

}  // namespace

void set_fault(const std::string& spec) {
  calls_left = 0;
  if (spec.empty()) return;
  const auto colon = spec.find(':');
  const std::string what = spec.substr(0, colon);
  std::int64_t call = 0;
  const char* end = spec.data() + spec.size();
  const bool is_number = colon != std::string::npos &&
                         std::from_chars(spec.data() + colon + 1, end, call) == std::from_chars_result{end, std::errc()};
  if (!is_number || call < 1 || (what != "kill" && what != "ENOSPC" && what != "EIO"))
    throw std::invalid_argument(
        fmt::format("BALLAST_TEST_FAULT is '{}'; wanted kill:N, ENOSPC:N or EIO:N with N >= 1, or nothing", spec));
  fault_code = what == "kill" ? kKill : what == "ENOSPC" ? ENOSPC : EIO;
  calls_left = call;
}

bool is_fault_pending() { return calls_left > 0; }

int fault_before_call() {
  if (calls_left.load(std::memory_order_relaxed) <= 0 || calls_left.fetch_sub(1) != 1) return 0;
  if (fault_code == kKill) std::raise(SIGKILL);
  return fault_code;
}

}  // namespace ballast::checkpoint
