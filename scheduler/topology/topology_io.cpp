#include "scheduler/topology/topology_io.h"

#include <fmt/format.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <stdexcept>

#include "scheduler/topology/cluster.pb.h"

namespace ballast::scheduler {

namespace {

Node node_from(const schema::Node& message) {
  Node node;
  node.num_ranks = message.num_ranks();
  node.num_nics = message.num_nics();
  node.nic_bytes_per_second = message.nic_bytes_per_second();
  node.nic_of_rank.assign(message.nic_of_rank().begin(), message.nic_of_rank().end());
  node.nics_per_rank = message.nics_per_rank();
  if (node.nics_per_rank > 0 && node.nic_of_rank.empty()) {
    throw std::invalid_argument(fmt::format(
        "cluster: a node has nics_per_rank {}, but no nic_of_rank; give the first card of each rank", node.nics_per_rank));
  }
  return node;
}

void write_node(const Node& node, schema::Node& message) {
  message.set_num_ranks(node.num_ranks);
  message.set_num_nics(node.num_nics);
  message.set_nic_bytes_per_second(node.nic_bytes_per_second);
  // Without cards there is nothing to say, and one first card must not be taken for one card per rank.
  if (node.nic_of_rank.empty()) return;
  for (const int nic : node.nic_of_rank) message.add_nic_of_rank(nic);
  message.set_nics_per_rank(node.nics_per_rank);
}

}  // namespace

Topology topology_from(const schema::Cluster& cluster) {
  if (cluster.nodes_size() > 0 && cluster.has_uniform()) {
    throw std::invalid_argument("cluster: both `nodes` and `uniform` are given; keep one");
  }
  Topology topology;
  if (cluster.nodes_size() > 0) {
    for (const schema::Node& node : cluster.nodes()) topology.nodes.push_back(node_from(node));
    number_ranks(topology);
  } else {
    topology = uniform_topology(cluster.uniform().num_nodes(), node_from(cluster.uniform().node()));
  }
  topology.name = cluster.name();
  topology.intra_node_bytes_per_second = cluster.intra_node_bytes_per_second();
  topology.message_seconds = cluster.message_seconds();
  topology.inter_node_message_seconds =
      cluster.inter_node_message_seconds() < 0 ? cluster.message_seconds() : cluster.inter_node_message_seconds();
  topology.attention_flops_per_second = cluster.attention_flops_per_second();
  topology.linear_flops_per_second = cluster.linear_flops_per_second();
  topology.memory_bytes = cluster.memory_bytes();
  return topology;
}

std::string cluster_text(const Topology& topology) {
  schema::Cluster cluster;
  cluster.set_name(topology.name);
  const auto is_like_the_first = [&](const Node& node) {
    Node other = node;
    other.first_rank = topology.nodes.front().first_rank;
    return other == topology.nodes.front();
  };
  if (std::ranges::all_of(topology.nodes, is_like_the_first)) {
    cluster.mutable_uniform()->set_num_nodes(topology.num_nodes());
    write_node(topology.nodes.front(), *cluster.mutable_uniform()->mutable_node());
  } else {
    for (const Node& node : topology.nodes) write_node(node, *cluster.add_nodes());
  }
  cluster.set_intra_node_bytes_per_second(topology.intra_node_bytes_per_second);
  cluster.set_message_seconds(topology.message_seconds);
  cluster.set_inter_node_message_seconds(topology.inter_node_message_seconds);
  cluster.set_attention_flops_per_second(topology.attention_flops_per_second);
  cluster.set_linear_flops_per_second(topology.linear_flops_per_second);
  cluster.set_memory_bytes(topology.memory_bytes);
  std::string text;
  google::protobuf::TextFormat::PrintToString(cluster, &text);
  return text;
}

}  // namespace ballast::scheduler
