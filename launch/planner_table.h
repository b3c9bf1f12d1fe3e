#pragma once
// The tables of `ballast bench planner` for people: a cell with a row for each policy.
#include <algorithm>
#include <string>

#include "launch/planner_result.h"

namespace ballast::launch {

/// Mean and worst over batches.
struct Spread {
  double sum = 0, worst = 0;
  int count = 0;
  void add(double value) {
    sum += value;
    worst = std::max(worst, value);
    ++count;
  }
  /// "mean/worst", or "n/a".
  std::string text() const;
};

/// A cell of one policy over its batches.
class PlannerRow {
 public:
  void add(const scheduler::PlannerScore& score);
  /// Whether no batch was tried.
  bool is_empty() const { return planning_ms_.count == 0; }
  /// A line. `reason`: why there is nothing, for an empty row.
  std::string text(const std::string& name, const std::string& reason) const;

 private:
  Spread makespan_, attention_only_, best_bound_, imbalance_, attention_, tokens_, exposed_, planning_ms_;
  bool is_exact_ = true;
  std::string refusal_;
};

/// The lines above the rows of a cell.
std::string planner_table_head(const PlannerCell& cell, const std::string& batches);

/// What the columns are.
std::string planner_table_legend();

}  // namespace ballast::launch
