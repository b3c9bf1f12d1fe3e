#pragma once
#include <string>

#include "runtime/metrics/metrics_record.h"

namespace ballast::metrics {

/// A place where records go.
class Sink {
 public:
  virtual ~Sink() = default;
  /// For warnings: what and where it is.
  virtual std::string name() const = 0;
  /// Throws: std::runtime_error when the record could not be written; the next call may try again.
  virtual void write(const MetricsRecord& record) = 0;
};

}  // namespace ballast::metrics
