#include "scheduler/sim/bounds.h"

#include <gtest/gtest.h>

#include "scheduler/cost/seconds.h"
#include "scheduler/policy/registry.h"
#include "scheduler/sim/simulator.h"
#include "tests/scheduler/sim/simulated_plans.h"

namespace ballast::scheduler {
namespace {

double bandwidth(const Topology& topology) {
  double sum = 0;
  for (const NicGroup& group : topology.nic_groups) sum += group.bytes_per_second;
  return sum;
}

TEST(StepBounds, WorkIsDividedEvenly) {
  const std::int64_t lengths[] = {1000, 3000};
  const Topology topology = cluster_a(2);
  const StepBounds bounds = step_bounds(lengths, seven_billion(), topology, 0);
  const CostRates rates = cost_rates(seven_billion(), topology);
  EXPECT_NEAR(bounds.work_seconds, (rates.sequence_seconds(1000) + rates.sequence_seconds(3000)) / 16, 1e-12);
  EXPECT_EQ(bounds.network_seconds, 0);
  EXPECT_EQ(bounds.seconds(), bounds.work_seconds);
}

TEST(StepBounds, OnlyWhatDoesNotFitANodeTravels) {
  const Topology topology = cluster_a(4);
  const std::int64_t fits[] = {8 * 4096};
  EXPECT_EQ(step_bounds(fits, seven_billion(), topology, 4096).network_seconds, 0);
  const std::int64_t does_not[] = {8 * 4096 + 1000};
  EXPECT_GT(step_bounds(does_not, seven_billion(), topology, 4096).network_seconds, 0);
  EXPECT_EQ(step_bounds(does_not, seven_billion(), topology, 0).network_seconds, 0) << "no cap";
  EXPECT_EQ(step_bounds(does_not, seven_billion(), cluster_a(1), 4096).network_seconds, 0) << "one node";
}

TEST(StepBounds, AVeryLongSequenceNeedsNearlyAllItsRowsElsewhere) {
  // Of s >> M tokens, cutting by head moves 4 rows of each token and head in each pass. The bound may not be above it, and at
  // M = 0 the best rectangle of queries and keys is at most 1.18 times better.
  const std::int64_t length = 1 << 22;
  const std::int64_t lengths[] = {length};
  const ModelShape model = seven_billion();
  const Topology topology = cluster_a(16);
  const double bytes = step_bounds(lengths, model, topology, 1).network_seconds * bandwidth(topology);
  const double by_head = 2.0 * 32 * 4 * 32 * 256 * static_cast<double>(length);
  EXPECT_LT(bytes, by_head);
  EXPECT_GT(bytes, by_head / 1.25);
}

TEST(StepBounds, NoPlanIsBetter) {
  int num_plans = 0, num_tight = 0;
  for (const Policy& policy : policies()) {
    for (const std::string table : {"pile", "prolong64k"}) {
      for (const int num_nodes : {2, 3, 5}) {
        PlanRequest request = cluster_request(policy.name, table, num_nodes, 7);
        request.options.token_cap_per_rank = 4505;
        Plan plan;
        try {
          plan = make_plan(request);
        } catch (const InfeasiblePlan&) {
          continue;
        }
        ++num_plans;
        plan.charged_tokens.clear();
        const StepBounds bounds = step_bounds(plan.lengths, request.model, request.topology, 4505);
        const Simulation simulation = simulate(plan, request.model, request.topology);
        EXPECT_GE(simulation.makespan_seconds, bounds.seconds()) << policy.name << ", " << table << ", " << num_nodes;
        double bytes = 0;
        for (const NicBytes& nic : simulation.nics) bytes += static_cast<double>(nic.received);
        EXPECT_GE(bytes, bounds.network_seconds * bandwidth(request.topology))
            << policy.name << ", " << table << ", " << num_nodes;
        if (bounds.network_seconds > 0) ++num_tight;
      }
    }
  }
  EXPECT_GT(num_plans, 30);
  EXPECT_GT(num_tight, 5);
}

}  // namespace
}  // namespace ballast::scheduler
