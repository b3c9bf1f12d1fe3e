#include "runtime/optim/shard_layout.h"

#include <fmt/format.h>

#include <stdexcept>

namespace ballast::optim {

ShardLayout make_shard_layout(std::int64_t num_elements, int num_ranks) {
  if (num_elements < 0 || num_ranks < 1) {
    throw std::invalid_argument(
        fmt::format("shard layout of {} elements over {} ranks: neither can be negative, and one rank is the "
                    "least",
                    num_elements, num_ranks));
  }
  ShardLayout layout;
  std::int64_t begin = 0;
  for (int rank = 0; rank < num_ranks; ++rank) {
    const std::int64_t count = num_elements / num_ranks + (rank < num_elements % num_ranks ? 1 : 0);
    layout.begins.push_back(begin);
    layout.counts.push_back(count);
    begin += count;
  }
  return layout;
}

}  // namespace ballast::optim
