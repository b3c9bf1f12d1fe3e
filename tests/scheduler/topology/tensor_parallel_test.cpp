// Groups of ranks have what their members have together.
#include "scheduler/topology/tensor_parallel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ballast::scheduler {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Topology cluster(int num_ranks, int num_nics) {
  Node node;
  node.num_ranks = num_ranks;
  node.num_nics = num_nics;
  node.nic_bytes_per_second = 25e9;
  return uniform_topology(2, node);
}

std::string refusal(const Topology& topology, int degree) {
  try {
    tensor_parallel(topology, degree);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "no error";
}

TEST(TensorParallel, AGroupIsOneFastRank) {
  const Topology from = cluster(8, 4);
  const Topology two = tensor_parallel(from, 2);
  EXPECT_EQ(two.num_ranks(), 8);
  EXPECT_EQ(two.attention_flops_per_second, 2 * from.attention_flops_per_second);
  EXPECT_EQ(two.linear_flops_per_second, 2 * from.linear_flops_per_second);
  EXPECT_EQ(two.intra_node_bytes_per_second, 2 * from.intra_node_bytes_per_second);
  EXPECT_EQ(two.memory_bytes, 2 * from.memory_bytes);
  EXPECT_THAT(two.nodes[1].nic_of_rank, ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(two.nic_groups[0].bytes_per_second, 25e9) << "its members shared a card before";
  const Topology four = tensor_parallel(from, 4);
  EXPECT_THAT(four.nodes[0].nic_of_rank, ElementsAre(0, 2));
  EXPECT_EQ(four.nic_groups[3].bytes_per_second, 50e9);
  EXPECT_EQ(tensor_parallel(from, 1), from);
}

TEST(TensorParallel, CardsStayTheSameInAll) {
  for (const int num_nics : {0, 1, 2, 8, 16}) {
    for (const int degree : {2, 4, 8}) {
      double before = 0, after = 0;
      const Topology from = cluster(8, num_nics);
      for (const NicGroup& group : from.nic_groups) before += group.bytes_per_second;
      for (const NicGroup& group : tensor_parallel(from, degree).nic_groups) after += group.bytes_per_second;
      EXPECT_EQ(before, after) << num_nics << " cards, degree " << degree;
    }
  }
}

TEST(TensorParallel, RefusesGroupsThatDoNotFit) {
  EXPECT_THAT(refusal(cluster(8, 4), 3), HasSubstr("node 0 has 8 ranks, which tensor parallelism over 3 does not divide"));
  EXPECT_THAT(refusal(cluster(8, 4), 0), HasSubstr("over 0 ranks"));
  Topology uneven = cluster(4, 4);
  for (Node& node : uneven.nodes) node.nic_of_rank = {0, 0, 1, 2};
  number_ranks(uneven);
  EXPECT_THAT(refusal(uneven, 2), HasSubstr("1 cards and 2 cards"));
}

}  // namespace
}  // namespace ballast::scheduler
