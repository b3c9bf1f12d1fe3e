#include "tests/scheduler/sim/simulated_plans.h"

#include <fstream>
#include <sstream>
#include <stdexcept>

#include "scheduler/workload/length_table.h"

namespace ballast::scheduler {

namespace {

LengthTable read_table(const std::string& name) {
  const std::string path = std::string(BALLAST_SOURCE_DIR) + "/configs/workloads/" + name + ".csv";
  std::ifstream file(path);
  if (!file) throw std::runtime_error(path + " cannot be read");
  std::ostringstream text;
  text << file.rdbuf();
  return parse_length_table(text.str(), path);
}

}  // namespace

ModelShape seven_billion() {
  ModelShape model;
  model.vocab_size = 32000;
  model.hidden_size = 4096;
  model.num_layers = 32;
  model.num_attention_heads = 32;
  model.num_key_value_heads = 32;
  model.head_dim = 128;
  model.intermediate_size = 11008;
  model.num_dense_layers = 32;
  model.element_bytes = 2;
  return model;
}

Topology cluster_a(int num_nodes) {
  Node node;
  node.num_ranks = 8;
  node.num_nics = 4;
  node.nic_bytes_per_second = 25e9;
  Topology topology = uniform_topology(num_nodes, node);
  topology.intra_node_bytes_per_second = 160e9;
  topology.attention_flops_per_second = 187.2e12;
  topology.linear_flops_per_second = 187.2e12;
  topology.memory_bytes = 85899345920;
  return topology;
}

PlanRequest cluster_request(const std::string& policy, const std::string& table, int num_nodes, std::uint64_t seed) {
  PlanRequest request;
  request.topology = cluster_a(num_nodes);
  request.model = seven_billion();
  request.options.policy = policy;
  const std::int64_t num_ranks = request.topology.num_ranks();
  constexpr std::int64_t kLongest = 131072;
  LengthTable lengths = read_table(table);
  const std::string suffix = "_quantiles";
  if (table.ends_with(suffix)) add_tail(lengths, read_table(table.substr(0, table.size() - suffix.size()) + "_tail_quantiles"));
  request.lengths = draw_batch(lengths, {4096 * num_ranks, std::min(kLongest, 4096 * num_ranks),
                                         lengths.bins.empty() ? 0 : std::min(kLongest, 4096 * num_ranks), seed});
  return request;
}

}  // namespace ballast::scheduler
