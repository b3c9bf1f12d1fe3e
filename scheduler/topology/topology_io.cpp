#include "scheduler/topology/topology_io.h"

#include <fmt/format.h>

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
      cluster.has_inter_node_message_seconds() ? cluster.inter_node_message_seconds() : cluster.message_seconds();
  topology.attention_flops_per_second = cluster.attention_flops_per_second();
  topology.linear_flops_per_second = cluster.linear_flops_per_second();
  topology.memory_bytes = cluster.memory_bytes();
  return topology;
}

}  // namespace ballast::scheduler
