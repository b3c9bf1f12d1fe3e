#pragma once
// What `plan` and `simulate` plan for: a run file, or cluster, model and lengths given apart.
#include <cstdint>
#include <string>
#include <vector>

#include "launch/command.h"
#include "scheduler/cost/memory.h"
#include "scheduler/make_plan.h"
#include "scheduler/workload/length_table.h"

namespace ballast::launch {

/// The first step of what a command line names, and how its model is spread.
struct PlanningInput {
  scheduler::PlanRequest request;  ///< in planner mode unless the sequences are those of a run, which only places them
  scheduler::Sharding sharding;    ///< over the ranks of the request
  int gpus_per_rank = 1;           ///< parallel.tp: ranks of the cluster that count as one
};

/// Cluster, with --world cut or grown to that many ranks, model and policy of the run file with the flags over it. Sequences:
/// --lengths (a list, or a distribution from which a step is drawn), else the first step of the run's data. Without a run file,
/// what is not set: policy ballast, 4096 tokens for each rank of the cluster.
/// Throws: ConfigError, UsageError, DataError; std::invalid_argument for an unknown policy, lengths that cannot be read, groups
/// that do not divide.
PlanningInput planning_input(const CommandLine& line);

/// A table of configs/workloads; the tail of a quantile table is found beside it.
/// Throws: std::invalid_argument when the file is missing or damaged.
scheduler::LengthTable load_length_table(const std::string& path);

}  // namespace ballast::launch
