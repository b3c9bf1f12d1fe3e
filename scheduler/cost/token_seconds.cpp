#include "scheduler/cost/token_seconds.h"

namespace ballast::scheduler {

TokenSeconds token_seconds(const ModelShape& model, const Topology& topology) {
  const double width = static_cast<double>(model.hidden_size);
  const double per_weight = 2 / topology.linear_flops_per_second;
  TokenSeconds seconds;
  seconds.query = width * static_cast<double>(model.query_width()) * per_weight;
  seconds.key_value = 2 * width * static_cast<double>(model.key_width()) * per_weight;
  seconds.output = seconds.query;
  seconds.router = width * static_cast<double>(model.num_experts) * per_weight;
  seconds.dense_feed_forward = 3 * width * static_cast<double>(model.intermediate_size) * per_weight;
  seconds.moe_feed_forward = 3 * width * static_cast<double>(model.expert_intermediate_size) *
                             static_cast<double>(model.num_shared_experts + model.experts_per_token) * per_weight;
  seconds.head = width * static_cast<double>(model.vocab_size) * per_weight;
  return seconds;
}

}  // namespace ballast::scheduler
