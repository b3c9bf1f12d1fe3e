#include <map>

#include "tests/runtime/comm/communicator_contract.h"
#include "tests/support/mpi_test_main.h"

namespace ballast::comm {

// The first ranks of the world play; the others go on to the next test.
void run_world(int num_ranks, const std::function<void(Communicator&)>& body) {
  static std::map<int, std::unique_ptr<Communicator>> parts;
  Communicator& world = support::mpi_world();
  ASSERT_LE(num_ranks, world.size());
  if (!parts.contains(num_ranks)) parts[num_ranks] = world.split(world.rank() < num_ranks ? 0 : -1, 0);
  if (const auto& part = parts[num_ranks]) body(*part);
}

}  // namespace ballast::comm
