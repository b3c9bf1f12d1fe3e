#pragma once
// A run's config for commands that do not go on with its training, and so may run on any number of ranks.
#include "launch/command.h"
#include "launch/config_file.h"
#include "runtime/comm/communicator.h"

namespace ballast::launch {

/// Loads the run file (as load_config_on_all_ranks, for the cluster's own number of ranks), then fits it to this world: experts
/// are sharded over the largest divisor of parallel.ep that divides the number of ranks. Says so on rank 0's line.errors. Also
/// sets the communicator's deadline. Throws: as load_config_on_all_ranks.
LoadedConfig load_config_for_any_world(const std::string& run_file, const CommandLine& line, comm::Communicator& world);

}  // namespace ballast::launch
