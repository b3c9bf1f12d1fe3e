#include "scheduler/topology/topology.h"

#include <fmt/format.h>

#include <stdexcept>

namespace ballast::scheduler {

namespace {
constexpr int kMaxRanks = 1 << 20;
}

void number_ranks(Topology& topology) {
  topology.node_of_rank.clear();
  if (topology.nodes.empty()) throw std::invalid_argument("cluster: no nodes; give `nodes` or `uniform` with at least one node");
  int first_rank = 0;
  for (int n = 0; n < topology.num_nodes(); ++n) {
    Node& node = topology.nodes[n];
    if (node.num_ranks < 1) {
      throw std::invalid_argument(fmt::format("cluster: node {} has {} ranks; a node has at least 1", n, node.num_ranks));
    }
    if (node.num_nics < 0) {
      throw std::invalid_argument(fmt::format("cluster: node {} has {} network cards; give 0 or more", n, node.num_nics));
    }
    if (node.num_ranks > kMaxRanks - first_rank) {
      throw std::invalid_argument(fmt::format("cluster: more than {} ranks at node {}", kMaxRanks, n));
    }
    node.first_rank = first_rank;
    if (node.nic_of_rank.empty() && node.num_nics > 0) {
      for (int i = 0; i < node.num_ranks; ++i) {
        node.nic_of_rank.push_back(static_cast<int>(static_cast<std::int64_t>(i) * node.num_nics / node.num_ranks));
      }
    }
    const int expected = node.num_nics > 0 ? node.num_ranks : 0;
    if (static_cast<int>(node.nic_of_rank.size()) != expected) {
      throw std::invalid_argument(
          fmt::format("cluster: node {} has {} entries in nic_of_rank for {} ranks and {} network cards; give one per rank", n,
                      node.nic_of_rank.size(), node.num_ranks, node.num_nics));
    }
    for (int nic : node.nic_of_rank) {
      if (nic < 0 || nic >= node.num_nics) {
        throw std::invalid_argument(
            fmt::format("cluster: node {} gives a rank network card {}, but its cards are 0 to {}", n, nic, node.num_nics - 1));
      }
    }
    topology.node_of_rank.insert(topology.node_of_rank.end(), node.num_ranks, n);
    first_rank += node.num_ranks;
  }
}

Topology uniform_topology(int num_nodes, const Node& node) {
  if (num_nodes < 1 || num_nodes > kMaxRanks) {
    throw std::invalid_argument(fmt::format("cluster: {} nodes; give 1 to {}", num_nodes, kMaxRanks));
  }
  Topology topology;
  topology.nodes.assign(num_nodes, node);
  number_ranks(topology);
  return topology;
}

Topology resized(const Topology& topology, int num_ranks) {
  if (num_ranks < 1 || num_ranks > kMaxRanks) {
    throw std::invalid_argument(fmt::format("cluster: a world of {} ranks; give 1 to {}", num_ranks, kMaxRanks));
  }
  Topology result = topology;
  result.nodes.clear();
  int left = num_ranks;
  for (std::size_t n = 0; left > 0; ++n) {
    if (n >= topology.nodes.size()) {
      const Node& last = topology.nodes.back();
      for (const Node& node : topology.nodes) {
        if (node.num_ranks != last.num_ranks || node.num_nics != last.num_nics ||
            node.nic_bytes_per_second != last.nic_bytes_per_second || node.nic_of_rank != last.nic_of_rank) {
          throw std::invalid_argument(fmt::format(
              "cluster: {} ranks wanted, but '{}' has {} on nodes that differ, so it cannot be grown; add nodes to it", num_ranks,
              topology.name, topology.num_ranks()));
        }
      }
    }
    Node node = topology.nodes[n < topology.nodes.size() ? n : topology.nodes.size() - 1];
    if (node.num_ranks > left) {
      node.num_ranks = left;
      node.nic_of_rank.resize(node.num_nics > 0 ? left : 0);
    }
    left -= node.num_ranks;
    result.nodes.push_back(node);
  }
  number_ranks(result);
  return result;
}

}  // namespace ballast::scheduler
