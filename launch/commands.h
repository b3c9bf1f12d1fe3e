#pragma once
// The commands that run without torch; each is launch/commands/<name>.cpp and a row in commands.cpp.
#include "launch/command.h"

namespace ballast::launch {

/// Of `bench`, the one benchmark that needs no torch.
bool is_bench_planner(const CommandLine& line);
int run_bench_planner(const CommandLine& line);
int run_config(const CommandLine& line);
int run_data(const CommandLine& line);
int run_plan(const CommandLine& line);
int run_report(const CommandLine& line);
int run_simulate(const CommandLine& line);

}  // namespace ballast::launch
