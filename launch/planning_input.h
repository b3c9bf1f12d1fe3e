#pragma once
// What `plan`, `simulate` and `bench planner` plan for: a run file, or cluster, model and lengths given apart.
#include <cstdint>
#include <vector>

#include "launch/command.h"
#include "scheduler/make_plan.h"
#include "scheduler/workload/length_table.h"

namespace ballast::launch {

/// A request for the first step of what the command line names, with the policy that it names. --world must be the
/// cluster's ranks; `--set cluster.uniform.num_nodes=N` makes a cluster of equal nodes larger. Lengths: --lengths (a list, or a
/// distribution from which a step is drawn), else the first step of the run's data. Throws: ConfigError, UsageError, DataError.
scheduler::PlanRequest planning_request(const CommandLine& line);

/// A table of configs/workloads; the tail of a quantile table is found beside it.
/// Throws: std::invalid_argument when the file is missing or damaged.
scheduler::LengthTable load_length_table(const std::string& path);

}  // namespace ballast::launch
