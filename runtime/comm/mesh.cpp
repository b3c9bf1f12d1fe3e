#include "runtime/comm/mesh.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ballast::comm {

void check_ep_divides(int num_ranks, int ep) {
  if (ep >= 1 && num_ranks % ep == 0) return;
  std::vector<int> choices;
  for (int d = 1; d <= num_ranks; ++d) {
    if (num_ranks % d == 0) choices.push_back(d);
  }
  throw std::invalid_argument(
      fmt::format("parallel.ep is {}, which does not divide the {} ranks; choose one of {}, or another "
                  "number of ranks",
                  ep, num_ranks, fmt::join(choices, ", ")));
}

Mesh::Mesh(Communicator& world, int ep) : dp_(world) {
  check_ep_divides(world.size(), ep);
  near_ = world.split(0, world.rank());
  ep_ = world.split(world.rank() / ep, world.rank());
  replica_ = world.split(world.rank() % ep, world.rank());
}

}  // namespace ballast::comm
