#pragma once
// Speed-ups of rows of a planner grid over one of them.
#include <map>
#include <ostream>
#include <string>
#include <vector>

#include "launch/planner_result.h"

namespace ballast::launch {

/// Collects results, and compares those of the same batches, each engine with itself.
class PlannerSpeedUps {
 public:
  void add(const PlannerResult& result);
  /// A line for each of `rows` but the baseline and each group of cells: all, of a cluster, a model, kind of lengths, size.
  void print(const std::string& baseline, const std::vector<std::string>& rows, std::ostream& out) const;

 private:
  std::map<std::string, std::map<std::string, PlannerResult>> by_batch_;  // by names without the row, and row
};

}  // namespace ballast::launch
