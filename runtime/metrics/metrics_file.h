#pragma once
// The form of a record in metrics.jsonl: one JSON object per line.
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/metrics/metrics_record.h"

namespace ballast::metrics {

/// The file of a run folder.
inline constexpr const char* kMetricsFile = "metrics.jsonl";

/// The record as one JSON object without a line end. `v` is the version of the schema; numbers stay numbers, non-finite ones are
/// the strings "nan", "inf" and "-inf", unknown ones null. Per layer: expert_load (rows of each expert),
/// expert_load_max_over_mean and expert_load_above_minimum.
std::string to_json(const MetricsRecord& record);

/// The inverse of to_json. Members that the schema does not know are ignored, missing ones keep their defaults.
/// Throws: std::runtime_error for text that is not a JSON object, another version, or a member of the wrong type (named).
MetricsRecord parse_record(std::string_view json);

/// Every record of a file. An unfinished last line (the run is being written, or was killed) is left out.
/// Throws: std::runtime_error with file and line for what parse_record refuses, and when the file cannot be read.
std::vector<MetricsRecord> read_metrics(const std::filesystem::path& path);

}  // namespace ballast::metrics
