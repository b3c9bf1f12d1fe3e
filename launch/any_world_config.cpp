#include "launch/any_world_config.h"

#include <fmt/format.h>

#include <numeric>
#include <ostream>

#include "launch/shared_config.h"
#include "runtime/train/run_config.pb.h"

namespace ballast::launch {

LoadedConfig load_config_for_any_world(const std::string& run_file, const CommandLine& line, comm::Communicator& world) {
  const LoadedConfig loaded =
      load_config_on_all_ranks({.run_file = run_file, .cluster_file = line.cluster_path, .set = line.set}, world);
  world.set_deadline(std::chrono::duration<double>(loaded.run->parallel().deadline_seconds()));
  const int ep = loaded.run->parallel().ep();
  const int fitting = std::gcd(ep, world.size());
  if (fitting == ep) return loaded;
  if (world.rank() == 0) {
    *line.errors << fmt::format("parallel.ep = {} with {} rank{}: experts are sharded over {} here\n", ep, world.size(),
                                world.size() == 1 ? "" : "s", fitting);
  }
  LoadedConfig fitted = loaded;
  const auto run = std::make_shared<schema::RunConfig>(*loaded.run);
  run->mutable_parallel()->set_ep(fitting);
  fitted.run = run;
  return fitted;
}

}  // namespace ballast::launch
