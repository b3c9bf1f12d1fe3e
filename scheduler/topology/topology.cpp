#include "scheduler/topology/topology.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>

namespace ballast::scheduler {

namespace {

constexpr int kMaxRanks = 1 << 20;

/// Who uses which card when the file does not say.
void fill_affinity(Node& node) {
  if (node.num_nics <= node.num_ranks) {
    for (int i = 0; i < node.num_ranks; ++i) {
      node.nic_of_rank.push_back(static_cast<int>(static_cast<std::int64_t>(i) * node.num_nics / node.num_ranks));
    }
    node.nics_per_rank = 1;
  } else {
    const int num_groups = std::gcd(node.num_nics, node.num_ranks);
    node.nics_per_rank = node.num_nics / num_groups;
    for (int i = 0; i < node.num_ranks; ++i) {
      node.nic_of_rank.push_back(i / (node.num_ranks / num_groups) * node.nics_per_rank);
    }
  }
}

/// Appends the groups of a node whose affinity is known.
void add_nic_groups(Topology& topology, int n) {
  const Node& node = topology.nodes[n];
  const std::size_t begin = topology.nic_groups.size();
  std::vector<int> first_nics = node.nic_of_rank;
  std::sort(first_nics.begin(), first_nics.end());
  first_nics.erase(std::unique(first_nics.begin(), first_nics.end()), first_nics.end());
  for (std::size_t g = 0; g < first_nics.size(); ++g) {
    if (g > 0 && first_nics[g] < first_nics[g - 1] + node.nics_per_rank) {
      throw std::invalid_argument(fmt::format(
          "cluster: node {} has ranks on cards {} to {} and others on cards {} to {}; ranks share all their cards or none", n,
          first_nics[g - 1], first_nics[g - 1] + node.nics_per_rank - 1, first_nics[g], first_nics[g] + node.nics_per_rank - 1));
    }
    topology.nic_groups.push_back({n, first_nics[g], node.nics_per_rank, node.nics_per_rank * node.nic_bytes_per_second, {}});
  }
  for (int i = 0; i < node.num_ranks; ++i) {
    int group = -1;
    if (node.num_nics > 0) {
      const auto at = std::lower_bound(first_nics.begin(), first_nics.end(), node.nic_of_rank[i]);
      group = static_cast<int>(begin) + static_cast<int>(at - first_nics.begin());
      topology.nic_groups[group].ranks.push_back(node.first_rank + i);
    }
    topology.nic_group_of_rank.push_back(group);
  }
}

bool are_equal_machines(const Node& a, const Node& b) {
  return a.num_ranks == b.num_ranks && a.num_nics == b.num_nics && a.nic_bytes_per_second == b.nic_bytes_per_second &&
         a.nic_of_rank == b.nic_of_rank && a.nics_per_rank == b.nics_per_rank;
}

}  // namespace

void number_ranks(Topology& topology) {
  topology.node_of_rank.clear();
  topology.nic_groups.clear();
  topology.nic_group_of_rank.clear();
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
    if (node.num_nics == 0) {
      node.nics_per_rank = 0;
    } else if (node.nic_of_rank.empty()) {
      fill_affinity(node);
    } else if (node.nics_per_rank == 0) {
      node.nics_per_rank = 1;
    }
    const int expected = node.num_nics > 0 ? node.num_ranks : 0;
    if (static_cast<int>(node.nic_of_rank.size()) != expected) {
      throw std::invalid_argument(
          fmt::format("cluster: node {} has {} entries in nic_of_rank for {} ranks and {} network cards; give one per rank", n,
                      node.nic_of_rank.size(), node.num_ranks, node.num_nics));
    }
    if (node.nics_per_rank < 0) {
      throw std::invalid_argument(fmt::format("cluster: node {} has {} cards per rank; give 1 or more", n, node.nics_per_rank));
    }
    for (const int nic : node.nic_of_rank) {
      // Both may be any number of the file: no sum before they are known to be small.
      if (nic < 0 || nic >= node.num_nics || node.nics_per_rank > node.num_nics - nic) {
        throw std::invalid_argument(fmt::format(
            "cluster: node {} gives a rank network card {}{}, but its cards are 0 to {}", n, nic,
            node.nics_per_rank > 1 ? fmt::format(" and the {} after it", node.nics_per_rank - 1) : "", node.num_nics - 1));
      }
    }
    topology.node_of_rank.insert(topology.node_of_rank.end(), node.num_ranks, n);
    add_nic_groups(topology, n);
    first_rank += node.num_ranks;
  }
}

std::vector<double> node_bytes_per_second(const Topology& topology) {
  std::vector<double> result(topology.nodes.size(), 0);
  for (const NicGroup& group : topology.nic_groups) result[group.node] += group.bytes_per_second;
  return result;
}

Topology grouped_nodes(const Topology& topology, int size) {
  if (size == 1) return topology;
  Topology result = topology;
  result.nodes.clear();
  std::vector<int> num_nics_before(topology.nodes.size(), 0);  // in its group
  for (int n = 0; n < topology.num_nodes(); ++n) {
    Node node = topology.nodes[n];
    node.nic_of_rank.clear();
    node.nics_per_rank = 0;
    if (n % size == 0) {
      result.nodes.push_back(node);
      continue;
    }
    Node& group = result.nodes.back();
    num_nics_before[n] = group.num_nics;
    group.num_ranks += node.num_ranks;
    group.num_nics += node.num_nics;
    group.nic_bytes_per_second = std::min(group.nic_bytes_per_second, node.nic_bytes_per_second);
  }
  for (int& node : result.node_of_rank) node /= size;
  for (NicGroup& group : result.nic_groups) {
    group.first_nic += num_nics_before[group.node];
    group.node /= size;
  }
  return result;
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
  const Node& last = topology.nodes.back();
  const bool is_uniform =
      std::all_of(topology.nodes.begin(), topology.nodes.end(), [&](const Node& node) { return are_equal_machines(node, last); });
  if (num_ranks > topology.num_ranks() && !is_uniform) {
    throw std::invalid_argument(
        fmt::format("cluster: {} ranks wanted, but '{}' has {} on nodes that differ, so it cannot be grown; add nodes to it",
                    num_ranks, topology.name, topology.num_ranks()));
  }
  Topology result = topology;
  result.nodes.clear();
  int left = num_ranks;
  for (std::size_t n = 0; left > 0; ++n) {
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
