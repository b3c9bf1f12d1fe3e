#include "runtime/metrics/console_sink.h"

#include <ostream>
#include <stdexcept>

#include "runtime/metrics/progress_line.h"

namespace ballast::metrics {

void ConsoleSink::write(const MetricsRecord& record) {
  stream_ << progress_line(record) << std::endl;
  if (!stream_) {
    stream_.clear();
    throw std::runtime_error("the stream does not take text");
  }
}

}  // namespace ballast::metrics
