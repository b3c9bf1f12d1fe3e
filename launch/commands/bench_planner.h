#pragma once
// The walk of `ballast bench planner` through its grid.
#include <functional>

#include "launch/command.h"
#include "scheduler/make_plan.h"
#include "scheduler/sim/planner_benchmark.h"

namespace ballast::launch {

/// What a policy is worth on one batch, in planner mode.
using ScorePlanner = std::function<scheduler::PlannerScore(const scheduler::PlanRequest&)>;

/// run_bench_planner with another way to score than scheduler::score_planner. What it throws ends a batch, not the grid: the row
/// has the reason, the file of results has nothing, and the exit code is that of the error.
int run_bench_planner(const CommandLine& line, const ScorePlanner& score);

}  // namespace ballast::launch
