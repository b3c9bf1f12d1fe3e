#include "runtime/comm/broadcast_text.h"

#include <gtest/gtest.h>

#include "tests/support/run_ranks.h"

namespace ballast::comm {
namespace {

TEST(BroadcastText, EveryRankGetsTheRootsTextWhateverItsLength) {
  support::run_ranks(3, [](Communicator& world) {
    for (const std::string& text : {std::string(), std::string("ballast"), std::string(100000, '\0') + "end"}) {
      const std::string own = world.rank() == 1 ? text : std::string("of rank ") + static_cast<char>('0' + world.rank());
      EXPECT_EQ(broadcast_text(world, own, 1), text);
    }
  });
}

}  // namespace
}  // namespace ballast::comm
