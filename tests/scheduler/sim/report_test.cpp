#include "scheduler/sim/report.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/scheduler/sim/simulated_plans.h"

namespace ballast::scheduler {
namespace {

TEST(SimulationReport, PartsOfTheStepSumToOne) {
  PlanRequest request = cluster_request("ballast", "prolong64k", 3, 3);
  const Plan plan = make_plan(request);
  const SimulationReport report = simulation_report(plan, request.model, request.topology, 4505);
  EXPECT_NEAR(report.busy_fraction + report.exposed_fraction + report.barrier_fraction + report.done_fraction, 1, 1e-9);
  EXPECT_EQ(report.simulation.makespan_seconds, simulate(plan, request.model, request.topology).makespan_seconds);
  SimulationOptions options;
  options.overlaps_linear = false;
  EXPECT_EQ(report.seconds_without_overlap, simulate(plan, request.model, request.topology, options).makespan_seconds);
  EXPECT_GE(static_cast<double>(report.most_nic_bytes), report.mean_nic_bytes);
  EXPECT_GT(report.mean_nic_bytes, 0);
  // Weights, gradients and moments alone.
  EXPECT_GT(report.most_memory_bytes, 6'000'000'000 * (2 + 4));
  EXPECT_EQ(report.most_memory_bytes, *std::max_element(report.peak_memory_bytes.begin(), report.peak_memory_bytes.end()));
}

}  // namespace
}  // namespace ballast::scheduler
