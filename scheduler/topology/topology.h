#pragma once
// Nodes, ranks, network cards and links of a cluster. Plain data; the text form is cluster.proto.
#include <cstdint>
#include <string>
#include <vector>

namespace ballast::scheduler {

/// One machine. Its ranks are consecutive.
struct Node {
  int first_rank = 0;
  int num_ranks = 1;
  int num_nics = 1;
  double nic_bytes_per_second = 1.25e9;  ///< of one card, one direction
  std::vector<int> nic_of_rank;          ///< card of each rank of the node; empty if there is no card
  bool operator==(const Node&) const = default;
};

/// A cluster. Ranks are numbered node by node.
struct Topology {
  std::string name;
  std::vector<Node> nodes;
  std::vector<int> node_of_rank;
  double intra_node_bytes_per_second = 1e10;  ///< one rank to a rank of its node, one direction
  double message_seconds = 1e-5;              ///< fixed cost of a message
  double attention_flops_per_second = 3e10;   ///< of one rank
  double linear_flops_per_second = 5e10;      ///< of one rank
  std::int64_t memory_bytes = 4294967296;     ///< of one rank

  int num_ranks() const { return static_cast<int>(node_of_rank.size()); }
  int num_nodes() const { return static_cast<int>(nodes.size()); }
  bool operator==(const Topology&) const = default;
};

/// Gives nodes consecutive ranks, fills the affinity of cards (rank i of a node uses card i * num_nics / num_ranks) and
/// node_of_rank. Throws: std::invalid_argument for a node without ranks, a card index out of range, or more than 2^20 ranks.
void number_ranks(Topology& topology);

/// `num_nodes` equal nodes.
Topology uniform_topology(int num_nodes, const Node& node);

/// The same links and cards cut or grown to `num_ranks` ranks: whole nodes as far as they go, then a last node with the rest.
/// Used for tables over sizes and for a world that differs from the cluster file.
/// Throws: std::invalid_argument for num_ranks < 1, or when uneven nodes would have to be grown.
Topology resized(const Topology& topology, int num_ranks);

}  // namespace ballast::scheduler
