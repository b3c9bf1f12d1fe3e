#pragma once
// One config for all ranks.
#include "launch/config_file.h"

namespace ballast::comm {
class Communicator;
}

namespace ballast::launch {

/// Rank 0 reads and checks the files and sends the resolved run to all: ranks cannot differ in what their machines have on disk,
/// and a wrong file is reported once. Origins are known on rank 0 only.
/// Called by all ranks.
/// Throws: as load_config, on rank 0; the others wait until the job ends.
LoadedConfig load_config_on_all_ranks(const ConfigSources& sources, comm::Communicator& world);

}  // namespace ballast::launch
