#pragma once
#include <cstdint>
#include <filesystem>

#include "runtime/metrics/sink.h"

namespace ballast::metrics {

/// One JSON object per record, appended to a file.
class JsonlSink final : public Sink {
 public:
  /// The file is opened by the first write, so that a folder that is not writable is a warning and not the end of a run.
  /// Input: `resumed_step` is the step that training goes on from, 0 for a new run. Records beyond it, which the steps to come
  /// will tell again, are cut off, and so is everything after a line that cannot be read.
  JsonlSink(std::filesystem::path path, std::int64_t resumed_step) : path_(std::move(path)), resumed_step_(resumed_step) {}
  ~JsonlSink() override;
  JsonlSink(const JsonlSink&) = delete;
  JsonlSink& operator=(const JsonlSink&) = delete;

  std::string name() const override { return path_.string(); }
  /// A record is written whole or not at all: what a full disk cut short is removed before the next one.
  void write(const MetricsRecord& record) override;

 private:
  void open();

  std::filesystem::path path_;
  std::int64_t resumed_step_;
  int file_ = -1;
  std::int64_t size_bytes_ = 0;  // end of the last whole record
};

}  // namespace ballast::metrics
