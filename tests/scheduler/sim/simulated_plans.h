#pragma once
// Requests and models that tests of the simulator share.
#include <string>

#include "scheduler/make_plan.h"

namespace ballast::scheduler {

/// LLaMA 7B.
ModelShape seven_billion();

/// Nodes of eight ranks and four cards, as in cluster A of configs/clusters.
Topology cluster_a(int num_nodes);

/// A step of 4096 tokens per rank drawn from a table of configs/workloads, on cluster A.
PlanRequest cluster_request(const std::string& policy, const std::string& table, int num_nodes, std::uint64_t seed);

}  // namespace ballast::scheduler
