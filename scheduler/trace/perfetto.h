#pragma once
// Timelines for ui.perfetto.dev and chrome://tracing.
#include <span>
#include <string>

#include "scheduler/trace/timeline.h"

namespace ballast::scheduler {

/// Name of a kind of work in traces and pictures.
const char* name(Work work);

/// JSON of the trace event format: a process for each rank, with a thread for its compute stream and each link, and one for each
/// card group; a complete event for each span, in microseconds. Input: timelines whose processes are kept apart by their names.
/// Cost: linear in spans.
std::string perfetto_json(std::span<const Timeline> timelines);

}  // namespace ballast::scheduler
