#include "scheduler/cost/seconds.h"

#include "scheduler/cost/flops.h"

namespace ballast::scheduler {

CostRates cost_rates(const ModelShape& model, const Topology& topology) {
  CostRates rates;
  const double layers = model.num_layers > 0 ? static_cast<double>(model.num_layers) : 1;
  // Forward: two products of 2 * H operations per head, query and key; backward five.
  rates.layer_pair_seconds = 7 * 2 * static_cast<double>(model.query_width()) / topology.attention_flops_per_second;
  rates.pair_seconds = rates.layer_pair_seconds * layers;
  rates.token_seconds = 6 * active_weights(model) / topology.linear_flops_per_second;
  rates.layer_token_seconds = rates.token_seconds / layers;
  rates.key_value_bytes = 2.0 * static_cast<double>(model.key_width()) * model.element_bytes;
  rates.query_bytes = static_cast<double>(model.query_width()) * model.element_bytes;
  rates.message_seconds = topology.message_seconds;
  rates.intra_bytes_per_second = topology.intra_node_bytes_per_second;
  return rates;
}

}  // namespace ballast::scheduler
