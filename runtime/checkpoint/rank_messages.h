#pragma once
// Short messages of unequal length between all ranks and rank 0. All functions are collective.
#include <string>
#include <vector>

#include "runtime/comm/communicator.h"

namespace ballast::checkpoint {

/// Returns: on rank 0 every rank's message, elsewhere nothing.
std::vector<std::string> gather_at_root(comm::Communicator& world, const std::string& message);
/// Gives each rank its own of rank 0's messages (`messages[rank]`, ignored elsewhere).
std::string scatter_from_root(comm::Communicator& world, const std::vector<std::string>& messages);
/// Returns: "rank r: error" of the lowest rank whose error is not empty, the same everywhere; empty when all are.
std::string first_error(comm::Communicator& world, const std::string& error);

}  // namespace ballast::checkpoint
