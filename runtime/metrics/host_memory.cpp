#include "runtime/metrics/host_memory.h"

#include <fmt/core.h>

#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

namespace ballast::metrics {
namespace {

std::int64_t bytes_of(const std::string& status, const std::string& key) {
  const std::size_t at = status.find("\n" + key + ":");
  if (at == std::string::npos) throw std::runtime_error(fmt::format("/proc/self/status has no line {}", key));
  return std::stoll(status.substr(at + key.size() + 2)) * 1024;
}

}  // namespace

HostMemory host_memory() {
  std::ifstream in("/proc/self/status");
  const std::string status{std::istreambuf_iterator<char>(in), {}};
  return {bytes_of(status, "VmRSS"), bytes_of(status, "VmHWM")};
}

}  // namespace ballast::metrics
