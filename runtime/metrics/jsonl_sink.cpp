#include "runtime/metrics/jsonl_sink.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <stdexcept>
#include <system_error>

#include "runtime/metrics/metrics_file.h"

namespace ballast::metrics {
namespace {

// Bytes of the leading records that belong to the steps up to `last_step`.
std::int64_t kept_bytes(const std::filesystem::path& path, std::int64_t last_step) {
  std::ifstream in(path, std::ios::binary);
  std::int64_t kept = 0;
  std::string line;
  while (std::getline(in, line) && !in.eof()) {
    try {
      if (parse_record(line).step > last_step) break;
    } catch (const std::runtime_error&) {
      break;
    }
    kept += static_cast<std::int64_t>(line.size()) + 1;
  }
  return kept;
}

}  // namespace

JsonlSink::~JsonlSink() {
  if (file_ >= 0) close(file_);
}

void JsonlSink::open() {
  const std::int64_t kept = kept_bytes(path_, resumed_step_);
  file_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file_ < 0) throw std::system_error(errno, std::generic_category(), fmt::format("open {}", path_.string()));
  size_bytes_ = kept;
}

void JsonlSink::write(const MetricsRecord& record) {
  const std::string line = to_json(record) + "\n";
  if (file_ < 0) open();
  // Cuts off what does not belong to a whole record; nothing to do in the usual case. A device or pipe cannot be cut.
  if (lseek(file_, 0, SEEK_END) > size_bytes_ && ftruncate(file_, size_bytes_) != 0) {
    throw std::system_error(errno, std::generic_category(), "cutting off an unfinished record");
  }
  const ssize_t written = ::write(file_, line.data(), line.size());
  if (written < 0) throw std::system_error(errno, std::generic_category(), fmt::format("write of {} bytes", line.size()));
  if (written != static_cast<ssize_t>(line.size())) {
    throw std::runtime_error(fmt::format("{} of {} bytes were written: is the disk full?", written, line.size()));
  }
  size_bytes_ += written;
}

}  // namespace ballast::metrics
