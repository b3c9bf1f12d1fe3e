#include "scheduler/route/route.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <map>
#include <numeric>

namespace ballast::scheduler {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// A cluster of equal nodes: cluster A of the published evaluation unless said.
Topology cluster(int num_nodes = 2, int num_ranks = 8, int num_nics = 4, double nic = 25e9, double intra = 160e9) {
  Node node;
  node.num_ranks = num_ranks;
  node.num_nics = num_nics;
  node.nic_bytes_per_second = nic;
  Topology topology = uniform_topology(num_nodes, node);
  topology.intra_node_bytes_per_second = intra;
  return topology;
}

/// Every row of every message travels once, inside the node to its proxies; slices lose nothing.
void check_is_whole(const std::vector<Transfer>& messages, const RoutedExchange& exchange, const Topology& topology) {
  std::vector<std::int64_t> next(messages.size(), 0);
  int last_message = 0;
  for (const RoutedPart& part : exchange.parts) {
    RC_ASSERT(part.message >= last_message);
    last_message = part.message;
    const Transfer& message = messages.at(part.message);
    RC_ASSERT(part.row_begin == next[part.message] && part.row_end > part.row_begin);
    next[part.message] = part.row_end;
    RC_ASSERT(part.src == message.src && part.dst == message.dst);
    RC_ASSERT(topology.node_of_rank[part.src] == topology.node_of_rank[part.src_proxy]);
    RC_ASSERT(topology.node_of_rank[part.dst] == topology.node_of_rank[part.dst_proxy]);
    RC_ASSERT(exchange.is_routed || part.is_direct());
    std::int64_t at = part.row_begin;
    for (int slice = 0; slice < exchange.num_slices; ++slice) {
      const RowRange rows = slice_rows(part, slice);
      if (rows.end == rows.begin) continue;
      RC_ASSERT(rows.begin == at && rows.end > at);
      at = rows.end;
    }
    RC_ASSERT(at == part.row_end);
  }
  for (std::size_t m = 0; m < messages.size(); ++m) RC_ASSERT(next[m] == messages[m].num_rows);
}

TEST(Route, WorkedExampleRingRoundOnClusterA) {
  // One round of a node-major ring over two nodes of cluster A: 65536 tokens of the 3B model on 16 ranks are 4096 tokens a rank;
  // keys and values of 3200 numbers in 2 bytes make rows of 12800 bytes and a block of 52.4 MB. Each node sends one block, from
  // its last rank to the first of the other.
  //   direct:  10 us + 52.43 MB / 25 GB/s                                             = 2.107 ms
  //   routed over 4 cards: dispatch and combine 3/4 * 52.43 MB / 160 GB/s             = 0.246 ms each
  //                        cards 1/4 * 52.43 MB / 25 GB/s                             = 0.524 ms
  //   slices: the m with m * (m + 1) >= (0.246 + 0.246) / 0.01 = 49.2 first           = 7
  //   (0.246 + 0.524 + 0.246) / 7 + 6/7 * 0.524 + 9 * 0.01                            = 0.685 ms
  const std::vector<Transfer> messages{{7, 8, 4096}, {15, 0, 4096}};
  const Topology topology = cluster();
  const RoutedExchange exchange = route(messages, 12800, topology);
  EXPECT_NEAR(exchange.direct_seconds, 2.107e-3, 1e-6);
  EXPECT_NEAR(exchange.routed_seconds, 0.685e-3, 1e-6);
  EXPECT_EQ(exchange.num_slices, 7);
  ASSERT_TRUE(exchange.is_routed);
  // A quarter on each rail. Rank 7 keeps the quarter of its own card (3), rank 8 gets the quarter of its own card (0).
  EXPECT_THAT(exchange.parts,
              ElementsAre(RoutedPart{0, 0, 1024, 7, 0, 8, 8, 0, 7}, RoutedPart{0, 1024, 2048, 7, 2, 10, 8, 0, 7},
                          RoutedPart{0, 2048, 3072, 7, 4, 12, 8, 0, 7}, RoutedPart{0, 3072, 4096, 7, 7, 14, 8, 0, 7},
                          RoutedPart{1, 0, 1024, 15, 8, 0, 0, 0, 7}, RoutedPart{1, 1024, 2048, 15, 10, 2, 0, 0, 7},
                          RoutedPart{1, 2048, 3072, 15, 12, 4, 0, 0, 7}, RoutedPart{1, 3072, 4096, 15, 15, 6, 0, 0, 7}));
  EXPECT_THAT(step_transfers(exchange, RouteStep::kDispatch, 0),
              ElementsAre(Transfer{7, 0, 147}, Transfer{7, 2, 147}, Transfer{7, 4, 147}, Transfer{15, 8, 147},
                          Transfer{15, 10, 147}, Transfer{15, 12, 147}));
  EXPECT_THAT(step_transfers(exchange, RouteStep::kCombine, 6),
              ElementsAre(Transfer{2, 0, 146}, Transfer{4, 0, 146}, Transfer{6, 0, 146}, Transfer{10, 8, 146},
                          Transfer{12, 8, 146}, Transfer{14, 8, 146}));
  for (const NicLoad& load : nic_loads(exchange, 12800, topology)) {
    EXPECT_EQ(load.sent_bytes, 1024 * 12800);
    EXPECT_EQ(load.received_bytes, 1024 * 12800);
  }
}

TEST(Route, OnlyTheSurplusMoves) {
  // Card 0 of node 0 has 3000 rows, cards 1 to 3 have 1000 each: the mean is 1500, so half of card 0's rows move, from its
  // largest message first, and nothing else does.
  const std::vector<Transfer> messages{{0, 8, 1000}, {1, 10, 2000}, {2, 12, 1000}, {4, 14, 1000}, {6, 9, 1000}};
  const RoutedExchange exchange = route(messages, 1 << 20, cluster());
  std::map<int, std::int64_t> dispatched;
  for (const RoutedPart& part : exchange.parts) {
    if (part.src != part.src_proxy) dispatched[part.message] += part.row_end - part.row_begin;
  }
  EXPECT_THAT(dispatched, ElementsAre(std::pair<const int, std::int64_t>{1, 1500}));
}

TEST(Route, SmallFlowsAndBalancedOnesGoDirect) {
  const Topology topology = cluster();
  // 97 KB per microsecond of fixed cost.
  EXPECT_NEAR(small_flow_bytes(topology, 0), 0.968e6, 1e3);
  EXPECT_FALSE(route(std::vector<Transfer>{{7, 8, 950}}, 1000, topology).is_routed);
  EXPECT_TRUE(route(std::vector<Transfer>{{7, 8, 2000}}, 1000, topology).is_routed);
  std::vector<Transfer> all;
  for (int r = 0; r < 8; ++r) all.push_back({r, 8 + r, 100000});
  const RoutedExchange balanced = route(all, 1000, topology);
  EXPECT_FALSE(balanced.is_routed);
  EXPECT_DOUBLE_EQ(balanced.direct_seconds, 10e-6 + 2 * 100000 * 1000 / 25e9);
  EXPECT_FALSE(route(std::vector<Transfer>{{0, 1, 100000}}, 1000, topology).is_routed);
  EXPECT_FALSE(route(std::vector<Transfer>{{0, 1, 100000}}, 1000, cluster(2, 1, 1)).is_routed);
}

TEST(Route, ManySmallMessagesOfOneRankMoveWhole) {
  std::vector<Transfer> messages;
  for (int i = 0; i < 200; ++i) messages.push_back({0, 8 + i % 8, 100});
  const Topology topology = cluster();
  const RoutedExchange exchange = route(messages, 1000, topology);
  EXPECT_TRUE(exchange.is_routed);
  EXPECT_EQ(exchange.parts.size(), messages.size());
  // Each is in one slice, and all slices have some.
  std::vector<int> num_parts(exchange.num_slices, 0);
  for (const RoutedPart& part : exchange.parts) {
    EXPECT_EQ(part.num_slices, 1);
    ++num_parts.at(part.first_slice);
  }
  EXPECT_THAT(num_parts, testing::Each(testing::Gt(5)));
  const std::vector<NicLoad> loads = nic_loads(exchange, 1000, topology);
  for (int g = 0; g < 4; ++g) EXPECT_EQ(loads[g].sent_bytes, 5'000'000);
}

TEST(Route, SmallMessagesAreNotCutNorSmallGroupsLevelled) {
  // Card 0 of node 0 carries one message of 20 MB and two of 0.9 MB, card 1 one of 0.9 MB: only the large one is cut.
  const std::vector<Transfer> messages{{0, 8, 20000}, {0, 9, 900}, {1, 10, 900}, {2, 12, 900}};
  const RoutedExchange exchange = route(messages, 1000, cluster());
  ASSERT_TRUE(exchange.is_routed);
  std::map<int, int> num_parts;
  for (const RoutedPart& part : exchange.parts) ++num_parts[part.message];
  EXPECT_GE(num_parts[0], 4);
  for (int m = 1; m < 4; ++m) EXPECT_EQ(num_parts[m], 1) << m;
  // Node 1 sends 0.9 MB on one card and nothing else: below the cut-off, so it stays, though node 0 is routed.
  std::vector<Transfer> both = messages;
  for (int dst = 0; dst < 6; ++dst) both.push_back({8, dst, 150});
  const RoutedExchange with_small = route(both, 1000, cluster());
  EXPECT_TRUE(with_small.is_routed);
  for (const RoutedPart& part : with_small.parts) EXPECT_TRUE(part.message < 4 || part.src_proxy == part.src);
}

TEST(Route, RelayingIsSharedByTheRanksOfACard) {
  // Ranks 6 and 7 share card 3 and send 10000 rows each: every card carries 5000, and both ranks of card 1 relay.
  const RoutedExchange exchange = route(std::vector<Transfer>{{7, 8, 10000}, {6, 9, 10000}}, 1 << 14, cluster());
  std::map<int, std::int64_t> relayed;
  for (const RoutedPart& part : exchange.parts) relayed[part.src_proxy] += part.row_end - part.row_begin;
  EXPECT_GT(relayed[2], 0);
  EXPECT_GT(relayed[3], 0);
  for (int card = 0; card < 4; ++card) EXPECT_NEAR(static_cast<double>(relayed[2 * card] + relayed[2 * card + 1]), 5000, 50);
}

TEST(Route, SlowLinksInsideTheNodeLimitWhatMoves) {
  // A rank of cluster B can pass 160 GB/s to its neighbours while 50 GB/s leave over its own card: it keeps 50/210 of a message.
  const Topology topology = cluster(2, 8, 8, 50e9);
  const RoutedExchange exchange = route(std::vector<Transfer>{{0, 8, 210000}}, 1000, topology);
  ASSERT_TRUE(exchange.is_routed);
  EXPECT_NEAR(static_cast<double>(nic_loads(exchange, 1000, topology)[0].sent_bytes), 50e6, 1e4);
  // The same when the bytes are in two messages.
  const RoutedExchange halves = route(std::vector<Transfer>{{0, 8, 105000}, {0, 16, 105000}}, 1000, cluster(3, 8, 8, 50e9));
  EXPECT_NEAR(static_cast<double>(nic_loads(halves, 1000, cluster(3, 8, 8, 50e9))[0].sent_bytes), 50e6, 1e4);
}

TEST(Route, CardsWithoutRanksAreNotUsedAndRanksShareSeveral) {
  Topology topology = cluster(2, 4, 4);
  for (Node& node : topology.nodes) node.nic_of_rank = {0, 0, 1, 1};
  number_ranks(topology);
  EXPECT_NEAR(nic_bound_seconds(std::vector<Transfer>{{0, 4, 1000}}, 1000, topology), 1e6 / 50e9, 1e-12);
  const Topology wide = cluster(2, 2, 6);
  ASSERT_EQ(wide.nic_groups.size(), 4u);
  const RoutedExchange exchange = route(std::vector<Transfer>{{0, 2, 100000}}, 1000, wide);
  EXPECT_DOUBLE_EQ(exchange.direct_seconds, 10e-6 + 1e8 / 75e9);
}

TEST(Route, RefusesWithNumbers) {
  const auto message = [](const std::vector<Transfer>& messages, const Topology& topology, std::int64_t row_bytes = 8) {
    try {
      route(messages, row_bytes, topology);
    } catch (const std::invalid_argument& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_THAT(message({{0, 16, 1}}, cluster()), HasSubstr("message 0 goes from rank 0 to rank 16, but the ranks are 0 to 15"));
  EXPECT_THAT(message({{0, 1, 1}, {0, 1, -3}}, cluster()), HasSubstr("message 1 has -3 rows"));
  EXPECT_THAT(message({{0, 1, 1}}, cluster(), 0), HasSubstr("rows of 0 bytes"));
  EXPECT_THAT(message({{0, 1, std::int64_t{1} << 61}}, cluster()), HasSubstr("at most 4611686018427387904 bytes"));
  Topology without = cluster();
  without.nodes[1].num_nics = 0;
  without.nodes[1].nic_of_rank.clear();
  number_ranks(without);
  EXPECT_THAT(message({{0, 8, 1}}, without), HasSubstr("node 1 has no network card"));
  EXPECT_EQ(message({{0, 8, 0}, {8, 9, 5}}, without), "no error");
}

TEST(Route, EmptyExchange) {
  const RoutedExchange exchange = route({}, 4, cluster());
  EXPECT_THAT(exchange.parts, IsEmpty());
  EXPECT_EQ(exchange.seconds(), 0);
}

TEST(Route, SlicesFollowTheFormula) {
  for (const double alpha : {1e-6, 1e-5, 1e-4}) {
    for (const double steps : {1e-4, 1e-3, 2e-2}) {
      const double bottleneck = steps * 0.55;
      const auto seconds = [&](int m) { return steps / m + (m - 1) * bottleneck / m + m * alpha; };
      const int best = best_num_slices(steps, bottleneck, alpha);
      for (int m = 1; m <= 64; ++m) EXPECT_LE(seconds(best), seconds(m) * (1 + 1e-12)) << alpha << " " << steps << " " << m;
    }
  }
}

/// Any number of [least, most], from the first case on.
template <typename T = int>
T up_to(T least, T most) {
  return *rc::gen::resize(100, rc::gen::inRange<T>(least, most + 1));
}

Topology random_cluster(double intra) {
  Topology topology;
  const int num_nodes = up_to(2, 5);
  for (int n = 0; n < num_nodes; ++n) {
    Node node;
    node.num_ranks = up_to(1, 8);
    node.num_nics = up_to(1, 8);
    node.nic_bytes_per_second = *rc::gen::element(12.5e9, 25e9, 50e9);
    topology.nodes.push_back(node);
  }
  number_ranks(topology);
  topology.intra_node_bytes_per_second = intra;
  return topology;
}

std::vector<Transfer> random_messages(const Topology& topology, std::int64_t least, std::int64_t most) {
  std::vector<Transfer> messages(up_to(0, 40));
  for (Transfer& message : messages) {
    message = {up_to(0, topology.num_ranks() - 1), up_to(0, topology.num_ranks() - 1), up_to<std::int64_t>(least, most)};
  }
  return messages;
}

TEST(Route, LargeExchangesMeetTheBoundOfTheCards) {
  EXPECT_TRUE(rc::check("uneven nodes, shared cards: within 1 % of max over nodes of bytes / bandwidth", [] {
    Topology topology = random_cluster(1e13);
    topology.message_seconds = topology.inter_node_message_seconds = 1e-6;
    const std::vector<Transfer> messages = random_messages(topology, 4000, 40000);
    const std::int64_t row_bytes = 10000;
    const RoutedExchange exchange = route(messages, row_bytes, topology);
    check_is_whole(messages, exchange, topology);
    double worst = 0;
    const std::vector<NicLoad> loads = nic_loads(exchange, row_bytes, topology);
    for (std::size_t g = 0; g < loads.size(); ++g) {
      worst = std::max(worst, static_cast<double>(std::max(loads[g].sent_bytes, loads[g].received_bytes)) /
                                  topology.nic_groups[g].bytes_per_second);
    }
    const double bound = nic_bound_seconds(messages, row_bytes, topology);
    RC_ASSERT(worst <= bound * 1.01);
    RC_ASSERT(worst >= bound * (1 - 1e-12));
  }));
}

TEST(Route, NothingIsLostAndDirectIsNeverBeaten) {
  EXPECT_TRUE(rc::check("any messages: every row once, the same twice, never slower than direct by its own estimate", [] {
    Topology topology = random_cluster(*rc::gen::element(1e10, 1.6e11, 1e12));
    topology.message_seconds = *rc::gen::element(0.0, 1e-6, 1e-5);
    topology.inter_node_message_seconds = *rc::gen::element(0.0, 1e-6, 3e-5);
    const std::vector<Transfer> messages = random_messages(topology, 0, *rc::gen::element<std::int64_t>(2, 100, 100000));
    const std::int64_t row_bytes = *rc::gen::element<std::int64_t>(1, 4096, 65536);
    const RoutedExchange exchange = route(messages, row_bytes, topology);
    check_is_whole(messages, exchange, topology);
    RC_ASSERT(exchange == route(messages, row_bytes, topology));
    RC_ASSERT(exchange.seconds() <= exchange.direct_seconds);
    const RoutedExchange direct = direct_exchange(messages, row_bytes, topology);
    RC_ASSERT(direct.seconds() == exchange.direct_seconds);
    RC_ASSERT(exchange.is_routed || exchange.parts == direct.parts);
    if (exchange.is_routed) {
      const double relief = exchange.routed_seconds / exchange.direct_seconds;
      RC_ASSERT(relief < 1 && exchange.routed_seconds >= nic_bound_seconds(messages, row_bytes, topology));
    }
    // No part is so short that it would be on the cards for less than its message costs.
    for (const RoutedPart& part : exchange.parts) {
      if (part.row_end - part.row_begin == messages[part.message].num_rows) continue;
      const double rate = std::min(topology.nodes[topology.node_of_rank[part.src]].nic_bytes_per_second,
                                   topology.nodes[topology.node_of_rank[part.dst]].nic_bytes_per_second);
      const double bytes = static_cast<double>((part.row_end - part.row_begin + 1) * row_bytes);
      RC_ASSERT(bytes > topology.inter_node_message_seconds * rate);
    }
    // What the steps carry together is what the parts say.
    std::map<std::pair<int, int>, std::int64_t> arriving, leaving;
    for (const RoutedPart& part : exchange.parts) {
      if (part.src != part.src_proxy) leaving[{part.src, part.src_proxy}] += part.row_end - part.row_begin;
      if (part.dst_proxy != part.dst) arriving[{part.dst_proxy, part.dst}] += part.row_end - part.row_begin;
    }
    for (int slice = 0; slice < exchange.num_slices; ++slice) {
      for (const Transfer& t : step_transfers(exchange, RouteStep::kDispatch, slice)) leaving[{t.src, t.dst}] -= t.num_rows;
      for (const Transfer& t : step_transfers(exchange, RouteStep::kCombine, slice)) arriving[{t.src, t.dst}] -= t.num_rows;
    }
    for (const auto& [ends, rows] : leaving) RC_ASSERT(rows == 0);
    for (const auto& [ends, rows] : arriving) RC_ASSERT(rows == 0);
  }));
}

}  // namespace
}  // namespace ballast::scheduler
