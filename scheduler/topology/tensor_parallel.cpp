#include "scheduler/topology/tensor_parallel.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

namespace ballast::scheduler {

Topology tensor_parallel(const Topology& topology, int degree) {
  if (degree < 1) throw std::invalid_argument(fmt::format("tensor parallelism over {} ranks; give 1 or more", degree));
  if (degree == 1) return topology;
  Topology result = topology;
  for (int n = 0; n < topology.num_nodes(); ++n) {
    const Node& from = topology.nodes[n];
    Node& node = result.nodes[n];
    if (from.num_ranks % degree != 0) {
      throw std::invalid_argument(fmt::format("cluster: node {} has {} ranks, which tensor parallelism over {} does not divide",
                                              n, from.num_ranks, degree));
    }
    node.num_ranks = from.num_ranks / degree;
    node.nic_of_rank.clear();
    node.nics_per_rank = 0;
    for (int i = 0; i < node.num_ranks && from.num_nics > 0; ++i) {
      const auto first = from.nic_of_rank.begin() + static_cast<std::ptrdiff_t>(i) * degree;
      const auto [lowest, highest] = std::minmax_element(first, first + degree);
      const int num_nics = *highest - *lowest + from.nics_per_rank;
      if (i > 0 && num_nics != node.nics_per_rank) {
        throw std::invalid_argument(
            fmt::format("cluster: with tensor parallelism over {}, ranks of node {} would have {} cards and "
                        "{} cards; order nic_of_rank so that groups have equally many",
                        degree, n, node.nics_per_rank, num_nics));
      }
      node.nics_per_rank = num_nics;
      node.nic_of_rank.push_back(*lowest);
    }
  }
  number_ranks(result);
  result.intra_node_bytes_per_second *= degree;
  result.attention_flops_per_second *= degree;
  result.linear_flops_per_second *= degree;
  result.memory_bytes *= degree;
  return result;
}

}  // namespace ballast::scheduler
