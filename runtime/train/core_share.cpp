#include "runtime/train/core_share.h"

#include <ATen/Parallel.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <functional>
#include <string_view>
#include <thread>
#include <vector>

namespace ballast::train {

CoreShare core_share(comm::Communicator& world) {
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  const std::array<std::int64_t, 1> own = {static_cast<std::int64_t>(std::hash<std::string_view>{}(host.data()))};
  std::vector<std::int64_t> all(static_cast<std::size_t>(world.size()));
  world.all_gather(comm::buffer(own), comm::buffer(all), std::vector<std::int64_t>(all.size(), 1)).wait();
  return {.num_ranks = static_cast<int>(std::ranges::count(all, own[0])),
          .num_threads_per_rank = at::get_num_threads(),
          .num_cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()))};
}

}  // namespace ballast::train
