#include "launch/shared_config.h"

#include "runtime/comm/broadcast_text.h"

namespace ballast::launch {

LoadedConfig load_config_on_all_ranks(const ConfigSources& sources, comm::Communicator& world) {
  LoadedConfig config;
  std::string text;
  if (world.rank() == 0) {
    config = load_config(sources);
    text = config.text;
  }
  text = comm::broadcast_text(world, std::move(text), 0);
  return world.rank() == 0 ? config : parse_run_config(text, "config of rank 0", sources.world);
}

}  // namespace ballast::launch
