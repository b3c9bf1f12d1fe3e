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
  std::vector<int> nic_of_rank;          ///< first card of each rank of the node; empty if there is no card
  int nics_per_rank = 0;                 ///< cards of each rank, from its first on; 0 before number_ranks: by the counts
  bool operator==(const Node&) const = default;
};

/// The cards that the same ranks use: what leaves or enters through one of these ranks is spread evenly over them.
struct NicGroup {
  int node = 0;
  int first_nic = 0;  ///< of the node
  int num_nics = 1;
  double bytes_per_second = 0;  ///< of all its cards, one direction
  std::vector<int> ranks;       ///< of the cluster, ascending; at least one
  bool operator==(const NicGroup&) const = default;
};

/// A cluster. Ranks are numbered node by node.
struct Topology {
  std::string name;
  std::vector<Node> nodes;
  std::vector<int> node_of_rank;
  std::vector<NicGroup> nic_groups;           ///< node by node, by first card; a card without ranks is in none
  std::vector<int> nic_group_of_rank;         ///< index into nic_groups; -1 for a rank without a card
  double intra_node_bytes_per_second = 1e10;  ///< one rank to the ranks of its node together, one direction
  double message_seconds = 1e-5;              ///< fixed cost of a message inside a node
  double inter_node_message_seconds = 1e-5;   ///< fixed cost of a message between nodes
  double attention_flops_per_second = 3e10;   ///< of one rank
  double linear_flops_per_second = 5e10;      ///< of one rank
  std::int64_t memory_bytes = 4294967296;     ///< of one rank

  int num_ranks() const { return static_cast<int>(node_of_rank.size()); }
  int num_nodes() const { return static_cast<int>(nodes.size()); }
  /// True if a message between these ranks passes cards.
  bool is_between_nodes(int src, int dst) const { return node_of_rank[src] != node_of_rank[dst]; }
  bool operator==(const Topology&) const = default;
};

/// Gives nodes consecutive ranks, fills node_of_rank, the affinity of cards where it is not given, and the groups of cards.
/// Affinity: up to one card per rank, rank i of a node uses card i * num_nics / num_ranks; with more cards than ranks, they form
/// gcd(num_nics, num_ranks) equal groups.
/// Throws: std::invalid_argument for a node without ranks, a card index out of range, ranks whose cards overlap in part, or more
/// than 2^20 ranks.
void number_ranks(Topology& topology);

/// By node: what the cards that its ranks use carry together, in bytes per second and direction; 0 without cards.
std::vector<double> node_bytes_per_second(const Topology& topology);

/// The same ranks and cards, every `size` nodes in a row as one. Which ranks use which cards is in nic_groups alone, as in the
/// topology that is given: of cards, a node has their number and the slowest rate.
Topology grouped_nodes(const Topology& topology, int size);

/// `num_nodes` equal nodes.
Topology uniform_topology(int num_nodes, const Node& node);

/// The same links and cards cut or grown to `num_ranks` ranks: whole nodes as far as they go, then a last node with the rest.
/// Used for tables over sizes and for a world that differs from the cluster file.
/// Throws: std::invalid_argument for num_ranks < 1, or when uneven nodes would have to be grown.
Topology resized(const Topology& topology, int num_ranks);

}  // namespace ballast::scheduler
