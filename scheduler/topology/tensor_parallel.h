#pragma once
// Ranks that act as one.
#include "scheduler/topology/topology.h"

namespace ballast::scheduler {

/// The cluster as it is planned for when every layer is spread over `degree` neighbouring ranks of a node: each such group is one
/// rank, as fast and large as all of them, with all their links and cards. The messages inside a group are not counted.
/// Throws: std::invalid_argument when the ranks of a node do not divide into groups, or groups of one node differ in their cards.
Topology tensor_parallel(const Topology& topology, int degree);

}  // namespace ballast::scheduler
