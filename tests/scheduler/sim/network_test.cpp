// Links serve one message after the other and never exceed their bandwidth.
#include "scheduler/sim/network.h"

#include <gtest/gtest.h>

namespace ballast::scheduler {
namespace {

/// Two nodes of two ranks that share a card of 10 bytes/s; 100 bytes/s inside; fixed 1 s inside, 2 s between.
Topology small_cluster() {
  Node node;
  node.num_ranks = 2;
  node.nic_bytes_per_second = 10;
  Topology topology = uniform_topology(2, node);
  topology.intra_node_bytes_per_second = 100;
  topology.message_seconds = 1;
  topology.inter_node_message_seconds = 2;
  return topology;
}

TEST(Network, AMessageAloneTakesFixedSecondsAndItsBytes) {
  const Topology topology = small_cluster();
  Network network(topology);
  const Network::Departure inside = network.depart(0, 1, 300, to_ticks(5));
  EXPECT_EQ(inside.begin, to_ticks(5));
  EXPECT_EQ(inside.end, to_ticks(8));
  EXPECT_EQ(inside.flight.arrival, to_ticks(6));
  EXPECT_EQ(network.arrive(inside.flight).end, to_ticks(9));
  const Network::Departure between = network.depart(0, 2, 300, to_ticks(5));
  EXPECT_EQ(network.arrive(between.flight).end, to_ticks(5 + 2 + 30));
}

TEST(Network, RanksTakeTurnsAtTheirCard) {
  const Topology topology = small_cluster();
  Network network(topology);
  EXPECT_EQ(network.depart(0, 2, 100, 0).end, to_ticks(10));
  const Network::Departure second = network.depart(1, 3, 100, to_ticks(1));
  EXPECT_EQ(second.begin, to_ticks(10));
  EXPECT_EQ(second.flight.arrival, to_ticks(12));
  EXPECT_EQ(network.depart(2, 0, 100, to_ticks(1)).begin, to_ticks(1)) << "the other direction is another link";
  EXPECT_EQ(network.depart(0, 1, 100, to_ticks(1)).begin, to_ticks(1)) << "the card is not used inside a node";
}

TEST(Network, TheReceiversLinkIsALinkToo) {
  Topology topology = small_cluster();
  Node fast = topology.nodes[0];
  fast.nic_bytes_per_second = 20;
  topology.nodes.push_back(fast);
  number_ranks(topology);
  Network network(topology);
  // Two senders of 20 and 10 bytes/s to a receiver of 10.
  const Network::Departure fast_one = network.depart(4, 0, 100, 0);
  const Network::Departure slow_one = network.depart(2, 1, 100, 0);
  EXPECT_EQ(fast_one.end, to_ticks(5));
  EXPECT_EQ(network.arrive(fast_one.flight).end, to_ticks(12));
  EXPECT_EQ(network.arrive(slow_one.flight).end, to_ticks(22));
  // A receiver of 20 is not kept by a sender of 10, but the last byte is.
  const Network::Departure to_fast = network.depart(2, 4, 100, to_ticks(30));
  EXPECT_EQ(to_fast.flight.arrival, to_ticks(32));
  EXPECT_EQ(network.arrive(to_fast.flight).end, to_ticks(42));
  EXPECT_EQ(network.arrive(network.depart(0, 5, 100, to_ticks(30)).flight).begin, to_ticks(37));
}

}  // namespace
}  // namespace ballast::scheduler
