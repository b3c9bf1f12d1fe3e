#pragma once
// Where a run's figures go: steps in, one record per interval out, to every sink.
#include <cstdint>
#include <iosfwd>
#include <memory>
#include <vector>

#include "runtime/metrics/meters.h"
#include "runtime/metrics/sink.h"

namespace ballast::metrics {

/// Lives on rank 0. A sink that fails is reported once and never stops the training.
class MetricsLog {
 public:
  /// Warnings go to a stream that outlives the log.
  explicit MetricsLog(std::ostream& warnings) : warnings_(warnings) {}

  /// Gives `sink` a record of the first step, then whenever the step is a multiple of `every_steps`, and at finish().
  /// Input: every_steps >= 1. Throws: std::invalid_argument otherwise.
  void add_sink(std::unique_ptr<Sink> sink, std::int64_t every_steps);
  /// Takes the figures of one finished step.
  void add(const StepRecord& step);
  /// Writes what the last records did not cover.
  void finish();

 private:
  struct Outlet {
    std::unique_ptr<Sink> sink;
    std::int64_t every_steps = 1;
    std::vector<JudgedStep> pending;
    bool has_warned = false;
  };
  void write(Outlet& outlet);

  std::ostream& warnings_;
  std::vector<Outlet> outlets_;
  FiniteWindow losses_{128};
  FiniteWindow grad_norms_{128};
  FiniteWindow step_seconds_{50};
  bool has_steps_ = false;
  bool has_warned_of_peak_ = false;
};

}  // namespace ballast::metrics
