#include "runtime/comm/mesh.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/run_ranks.h"

namespace ballast::comm {
namespace {

std::vector<std::int64_t> members(Communicator& axis, int world_rank) {
  const std::vector<std::int64_t> own{world_rank};
  std::vector<std::int64_t> ranks(static_cast<std::size_t>(axis.size()));
  axis.all_gather(buffer(own), buffer(ranks), std::vector<std::int64_t>(ranks.size(), 1)).wait();
  return ranks;
}

TEST(Mesh, ConsecutiveRanksShareTheExperts) {
  support::run_ranks(6, [](Communicator& world) {
    const Mesh mesh(world, 3);
    const int rank = world.rank();
    const int first = rank / 3 * 3;
    EXPECT_EQ(&mesh.dp(), &world);
    EXPECT_NE(&mesh.near(), &world);
    EXPECT_EQ(members(mesh.near(), rank), (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5}));
    EXPECT_EQ(mesh.ep().rank(), rank % 3);
    EXPECT_EQ(members(mesh.ep(), rank), (std::vector<std::int64_t>{first, first + 1, first + 2}));
    EXPECT_EQ(mesh.replica().rank(), rank / 3);
    EXPECT_EQ(members(mesh.replica(), rank), (std::vector<std::int64_t>{rank % 3, rank % 3 + 3}));
  });
}

TEST(Mesh, OneColumnMeansEveryRankHoldsAllExperts) {
  support::run_ranks(3, [](Communicator& world) {
    const Mesh mesh(world, 1);
    EXPECT_EQ(mesh.ep().size(), 1);
    EXPECT_EQ(mesh.replica().size(), 3);
  });
}

TEST(Mesh, EpMustDivideTheWorld) {
  EXPECT_THAT([] { check_ep_divides(6, 4); },
              ::testing::ThrowsMessage<std::invalid_argument>("parallel.ep is 4, which does not divide the 6 ranks; choose one "
                                                              "of 1, 2, 3, 6, or another number of ranks"));
  EXPECT_THROW(check_ep_divides(4, 0), std::invalid_argument);
  EXPECT_THROW(check_ep_divides(4, 8), std::invalid_argument);
  EXPECT_NO_THROW(check_ep_divides(4, 4));
}

}  // namespace
}  // namespace ballast::comm
