#include "launch/shared_config.h"

#include "runtime/comm/communicator.h"

namespace ballast::launch {

LoadedConfig load_config_on_all_ranks(const ConfigSources& sources, comm::Communicator& world) {
  LoadedConfig config;
  std::string text;
  if (world.rank() == 0) {
    config = load_config(sources);
    text = config.text;
  }
  auto num_bytes = static_cast<std::int64_t>(text.size());
  world.broadcast({&num_bytes, 1, comm::Dtype::kInt64}, 0).wait();
  text.resize(static_cast<std::size_t>(num_bytes));
  world.broadcast({text.data(), num_bytes, comm::Dtype::kUint8}, 0).wait();
  return world.rank() == 0 ? config : parse_run_config(text, "config of rank 0", sources.world);
}

}  // namespace ballast::launch
