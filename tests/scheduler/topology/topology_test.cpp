#include "scheduler/topology/topology.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

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
  EXPECT_THAT(message("nodes { } uniform { }"), HasSubstr("both `nodes` and `uniform`"));
  EXPECT_THAT(message("uniform { num_nodes: 2000000 }"), HasSubstr("2000000 nodes"));
}

TEST(Topology, ShippedClustersParse) {
  for (const auto& [name, ranks] : {std::pair{"two_nodes_two_ranks", 4}, std::pair{"one_rank", 1}}) {
    std::ifstream file(std::string(BALLAST_SOURCE_DIR "/configs/clusters/") + name + ".textproto");
    std::stringstream text;
    text << file.rdbuf();
    EXPECT_EQ(topology_from(parse(text.str())).num_ranks(), ranks) << name;
  }
}

}  // namespace
}  // namespace ballast::scheduler
