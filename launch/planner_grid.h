#pragma once
// What `ballast bench planner` goes through: a grid file, a run file, or cluster, model and lengths alone, with the command line
// over it.
#include <string>
#include <vector>

#include "launch/command.h"
#include "launch/planner_grid.pb.h"

namespace ballast::launch {

/// A grid as the whole command line gives it, checked.
struct LoadedPlannerGrid {
  /// Files as they are opened. With a run, what is empty is as the run says: cluster, model, lengths, caps, tokens of a batch.
  schema::PlannerGrid grid;
  std::vector<schema::PlannerVariant> rows;  ///< of the tables: policies as they are, then variants
  std::string run_file;                      ///< empty: there is none
  std::vector<std::string> set;              ///< assignments to the run; without one, to fields of cluster and model
  std::vector<int> set_numbers;              ///< which --set of the command line each of them is, from 1
  bool lacks_baseline = false;               ///< --policy left the baseline out
};

/// Of the line: the grid or run file, if any; --set of fields of the grid, over it; then --policy, --cluster, --model, --lengths
/// and
/// --world, each in place of a list of the grid.
/// Throws: UsageError; ConfigError with all findings; std::invalid_argument if the file cannot be read or for an unknown policy.
LoadedPlannerGrid load_planner_grid(const CommandLine& line);

/// What `ballast bench --help` adds about planner.
std::string planner_notes();

}  // namespace ballast::launch
