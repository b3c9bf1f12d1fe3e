#pragma once
#include <iosfwd>

#include "runtime/metrics/sink.h"

namespace ballast::metrics {

/// One progress line per record, for a person.
class ConsoleSink final : public Sink {
 public:
  /// The stream outlives the sink.
  explicit ConsoleSink(std::ostream& stream) : stream_(stream) {}
  std::string name() const override { return "the progress line"; }
  void write(const MetricsRecord& record) override;

 private:
  std::ostream& stream_;
};

}  // namespace ballast::metrics
