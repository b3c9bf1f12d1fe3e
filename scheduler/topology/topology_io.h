#pragma once
// Topology from its text form, and back.
#include <string>

#include "scheduler/topology/topology.h"

namespace ballast::schema {
class Cluster;
}

namespace ballast::scheduler {

/// Topology of a cluster message. Neither `nodes` nor `uniform`: one node with one rank.
/// Throws: std::invalid_argument when both are given, for nics_per_rank without nic_of_rank, or as number_ranks.
Topology topology_from(const schema::Cluster& cluster);

/// The text of a cluster file whose topology is this one, to the last bit.
/// Input: a topology that has been numbered (number_ranks).
std::string cluster_text(const Topology& topology);

}  // namespace ballast::scheduler
