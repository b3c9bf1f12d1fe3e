#pragma once
// Timelines as a page of charts.
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "scheduler/trace/timeline.h"

namespace ballast::scheduler {

/// A chart and what is said below it. A timeline without ranks has its facts alone.
struct GanttChart {
  Timeline timeline;
  std::vector<std::pair<std::string, std::string>> facts;
};

/// An HTML page without scripts or other files: charts side by side on one time scale, a row for each compute stream and, in
/// between nodes, one for each direction of each card group. Of more than 64 ranks the first 64 are drawn. Spans of one kind that
/// are closer than a pixel are drawn as one. Cost: linear in spans, plus sorting.
std::string gantt_html(const std::string& title, std::span<const GanttChart> charts);

}  // namespace ballast::scheduler
