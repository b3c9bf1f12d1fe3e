#include "scheduler/topology/topology.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <tuple>

#include "scheduler/topology/cluster.pb.h"
#include "scheduler/topology/topology_io.h"

namespace ballast::scheduler {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

schema::Cluster parse(const std::string& text) {
  schema::Cluster cluster;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &cluster)) << text;
  return cluster;
}

TEST(Topology, NumbersRanksNodeByNode) {
  const Topology topology = topology_from(parse("nodes { num_ranks: 4 num_nics: 2 } nodes { num_ranks: 1 num_nics: 0 }"));
  EXPECT_EQ(topology.num_ranks(), 5);
  EXPECT_THAT(topology.node_of_rank, ElementsAre(0, 0, 0, 0, 1));
  EXPECT_THAT(topology.nodes[0].nic_of_rank, ElementsAre(0, 0, 1, 1));
  EXPECT_EQ(topology.nodes[1].first_rank, 4);
}

TEST(Topology, MoreCardsThanRanks) {
  const Topology topology = topology_from(parse("uniform { num_nodes: 2 node { num_ranks: 2 num_nics: 4 } }"));
  EXPECT_THAT(topology.nodes[1].nic_of_rank, ElementsAre(0, 2));
  EXPECT_EQ(topology.nodes[1].nics_per_rank, 2);
  EXPECT_THAT(topology.nic_groups, ElementsAre(NicGroup{0, 0, 2, 2.5e9, {0}}, NicGroup{0, 2, 2, 2.5e9, {1}},
                                               NicGroup{1, 0, 2, 2.5e9, {2}}, NicGroup{1, 2, 2, 2.5e9, {3}}));
  // Neither number divides the other: two ranks share three cards, twice.
  const Topology shared = topology_from(parse("nodes { num_ranks: 4 num_nics: 6 }"));
  EXPECT_THAT(shared.nic_groups, ElementsAre(NicGroup{0, 0, 3, 3.75e9, {0, 1}}, NicGroup{0, 3, 3, 3.75e9, {2, 3}}));
}

TEST(Topology, RanksShareCards) {
  const Topology topology =
      topology_from(parse("nodes { num_ranks: 3 num_nics: 2 nic_bytes_per_second: 1e9 } nodes { num_nics: 0 } "
                          "nodes { num_ranks: 2 num_nics: 4 nic_bytes_per_second: 2e9 nic_of_rank: [2, 2] }"));
  EXPECT_THAT(topology.nic_groups,
              ElementsAre(NicGroup{0, 0, 1, 1e9, {0, 1}}, NicGroup{0, 1, 1, 1e9, {2}}, NicGroup{2, 2, 1, 2e9, {4, 5}}));
  EXPECT_THAT(topology.nic_group_of_rank, ElementsAre(0, 0, 1, -1, 2, 2));
  const Topology switched = topology_from(parse("nodes { num_ranks: 4 num_nics: 4 nic_of_rank: [2, 0, 2, 0] nics_per_rank: 2 }"));
  EXPECT_THAT(switched.nic_groups, ElementsAre(NicGroup{0, 0, 2, 2.5e9, {1, 3}}, NicGroup{0, 2, 2, 2.5e9, {0, 2}}));
}

/// Four nodes: cards that nobody uses, none, several of a rank, shared ones.
Topology uneven_topology() {
  return topology_from(
      parse("nodes { num_ranks: 2 num_nics: 4 nic_bytes_per_second: 2e9 nic_of_rank: [2, 2] } nodes { num_ranks: 3 num_nics: 0 } "
            "nodes { num_ranks: 1 num_nics: 2 nic_bytes_per_second: 1e9 } "
            "nodes { num_ranks: 4 num_nics: 2 nic_bytes_per_second: 3e9 } nodes { num_ranks: 1 num_nics: 1 }"));
}

TEST(Topology, CardsThatNobodyUsesCarryNothing) {
  EXPECT_THAT(node_bytes_per_second(uneven_topology()), ElementsAre(2e9, 0, 2e9, 6e9, 1.25e9));
}

TEST(Topology, GroupsOfNodesKeepTheirCards) {
  const Topology topology = uneven_topology();
  EXPECT_EQ(grouped_nodes(topology, 1), topology);
  const Topology pairs = grouped_nodes(topology, 2);
  ASSERT_EQ(pairs.num_nodes(), 3);
  EXPECT_THAT(pairs.node_of_rank, ElementsAre(0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2));
  EXPECT_EQ(pairs.nodes[1].first_rank, 5);
  EXPECT_EQ(pairs.nodes[1].num_ranks, 5);
  EXPECT_EQ(pairs.nodes[1].num_nics, 4);
  EXPECT_EQ(pairs.nodes[1].nic_bytes_per_second, 1e9);
  EXPECT_THAT(pairs.nic_groups,
              ElementsAre(NicGroup{0, 2, 1, 2e9, {0, 1}}, NicGroup{1, 0, 2, 2e9, {5}}, NicGroup{1, 2, 1, 3e9, {6, 7}},
                          NicGroup{1, 3, 1, 3e9, {8, 9}}, NicGroup{2, 0, 1, 1.25e9, {10}}));
  EXPECT_EQ(pairs.nic_group_of_rank, topology.nic_group_of_rank);
  EXPECT_THAT(node_bytes_per_second(pairs), ElementsAre(2e9, 8e9, 1.25e9));
  const Topology all = grouped_nodes(topology, 8);
  EXPECT_EQ(all.num_nodes(), 1);
  EXPECT_THAT(node_bytes_per_second(all), ElementsAre(11.25e9));
}

TEST(Topology, MessagesBetweenNodesCostTheSameUnlessSaid) {
  EXPECT_EQ(topology_from(parse("message_seconds: 3e-6")).inter_node_message_seconds, 3e-6);
  const Topology topology = topology_from(parse("message_seconds: 3e-6 inter_node_message_seconds: 2e-5"));
  EXPECT_EQ(topology.message_seconds, 3e-6);
  EXPECT_EQ(topology.inter_node_message_seconds, 2e-5);
}

TEST(Topology, ResizesWholeNodesFirst) {
  Node node;
  node.num_ranks = 8;
  node.num_nics = 4;
  const Topology grown = resized(uniform_topology(2, node), 20);
  EXPECT_EQ(grown.num_nodes(), 3);
  EXPECT_EQ(grown.nodes[2].num_ranks, 4);
  EXPECT_EQ(grown.num_ranks(), 20);
  Topology uneven = uniform_topology(2, node);
  uneven.nodes[0].num_ranks = 4;
  uneven.nodes[0].nic_of_rank.resize(4);
  number_ranks(uneven);
  EXPECT_EQ(resized(uneven, 6).nodes[1].num_ranks, 2);
  EXPECT_THROW(resized(uneven, 40), std::invalid_argument);
  const Topology large = resized(uniform_topology(2, node), 8192);
  EXPECT_EQ(large.num_nodes(), 1024);
  EXPECT_EQ(large.nic_groups.size(), 4096u);
  EXPECT_THAT(large.nic_groups[4095].ranks, ElementsAre(8190, 8191));
  EXPECT_EQ(resized(large, 16), uniform_topology(2, node));
  // A node that is cut keeps its cards, of which some have no rank any more.
  EXPECT_EQ(grown.nic_groups.size(), 10u);
}

TEST(Topology, RefusesWhatMakesNoSense) {
  const auto message = [](const std::string& text) {
    try {
      topology_from(parse(text));
    } catch (const std::invalid_argument& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_THAT(message("nodes { num_ranks: 0 }"), HasSubstr("node 0 has 0 ranks"));
  EXPECT_THAT(message("nodes { num_ranks: 2 num_nics: 2 nic_of_rank: 2 nic_of_rank: 0 }"),
              HasSubstr("network card 2, but its cards are 0 to 1"));
  EXPECT_THAT(message("nodes { num_ranks: 2 nic_of_rank: 0 }"), HasSubstr("1 entries in nic_of_rank for 2 ranks"));
  EXPECT_THAT(message("nodes { num_ranks: 2 num_nics: 4 nic_of_rank: [0, 1] nics_per_rank: 2 }"),
              HasSubstr("node 0 has ranks on cards 0 to 1 and others on cards 1 to 2; ranks share all their cards or none"));
  EXPECT_THAT(message("nodes { num_nics: 4 nic_of_rank: 3 nics_per_rank: 2 }"),
              HasSubstr("network card 3 and the 1 after it, but its cards are 0 to 3"));
  EXPECT_THAT(message("nodes { num_nics: 4 nics_per_rank: 2 }"), HasSubstr("nics_per_rank 2, but no nic_of_rank"));
  EXPECT_THAT(message("nodes { } uniform { }"), HasSubstr("both `nodes` and `uniform`"));
  EXPECT_THAT(message("uniform { num_nodes: 2000000 }"), HasSubstr("2000000 nodes"));
}

TEST(Topology, TextOfAClusterIsReadBackToTheLastBit) {
  for (const char* text :
       {"", "uniform { num_nodes: 2 node { num_ranks: 3 num_nics: 2 } }",
        "uniform { num_nodes: 2 node { num_ranks: 2 num_nics: 4 } }",
        "nodes { num_ranks: 2 num_nics: 0 } nodes { num_ranks: 4 num_nics: 4 nic_of_rank: [2, 0, 2, 0] nics_per_rank: 2 }"}) {
    Topology topology = topology_from(parse(text));
    topology.name = "a \"b\"";
    topology.intra_node_bytes_per_second = 1e10 / 3;
    topology.message_seconds = 1.0 / 7e5;
    topology.inter_node_message_seconds = 0;
    topology.attention_flops_per_second = 2e10 / 7;
    topology.linear_flops_per_second = 1e11 / 9;
    topology.memory_bytes = 123456789012345;
    for (Node& node : topology.nodes) node.nic_bytes_per_second = 1e9 / 3;
    number_ranks(topology);
    EXPECT_EQ(topology_from(parse(cluster_text(topology))), topology) << text;
  }
}

TEST(Topology, ShippedClustersParse) {
  for (const auto& [name, ranks, groups] :
       {std::tuple{"two_nodes_two_ranks", 4, 2}, std::tuple{"one_rank", 1, 0}, std::tuple{"cluster_a", 16, 8},
        std::tuple{"cluster_b", 16, 16}, std::tuple{"cluster_c", 16, 16}, std::tuple{"dgx_2x8", 16, 8}}) {
    std::ifstream file(std::string(BALLAST_SOURCE_DIR "/configs/clusters/") + name + ".textproto");
    std::stringstream text;
    text << file.rdbuf();
    const Topology topology = topology_from(parse(text.str()));
    EXPECT_EQ(topology.num_ranks(), ranks) << name;
    EXPECT_EQ(static_cast<int>(topology.nic_groups.size()), groups) << name;
    EXPECT_EQ(resized(topology, 8192).num_ranks(), 8192) << name;
  }
}

}  // namespace
}  // namespace ballast::scheduler
