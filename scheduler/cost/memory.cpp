#include "scheduler/cost/memory.h"

#include <algorithm>

#include "scheduler/cost/flops.h"

namespace ballast::scheduler {

std::int64_t activation_bytes_per_token(const ModelShape& model) {
  const std::int64_t width = model.hidden_size;
  // Block input, normed input, middle, normed middle; q, k, v, output of attention; two statistics and the log-sum-exp of each
  // head.
  const std::int64_t attention = 4 * width + 2 * model.query_width() + 2 * model.key_width();
  const std::int64_t statistics = (2 + model.num_attention_heads) * 4;
  const std::int64_t dense = 3 * model.intermediate_size;
  const std::int64_t rows = model.experts_per_token + model.num_shared_experts;
  // Per routed row: input, gate and up, product, output.
  const std::int64_t moe = rows * (2 * width + 3 * model.expert_intermediate_size) + 2 * model.num_experts;
  const std::int64_t num_moe = model.num_moe_layers();
  const std::int64_t elements = model.num_layers * attention + (model.num_layers - num_moe) * dense + num_moe * moe + 2 * width;
  return elements * model.element_bytes + model.num_layers * statistics;
}

std::int64_t output_gradient_bytes_per_token(const ModelShape& model) {
  const std::int64_t attention = model.query_width() + 2 * model.key_width() + model.hidden_size;
  const std::int64_t dense = 2 * model.intermediate_size + model.hidden_size;  // gate and up, down
  const std::int64_t rows = model.experts_per_token + model.num_shared_experts;
  const std::int64_t moe = rows * (2 * model.expert_intermediate_size + model.hidden_size) + model.num_experts;
  const std::int64_t num_moe = model.num_moe_layers();
  const std::int64_t feed_forward = std::max(num_moe > 0 ? moe : 0, num_moe < model.num_layers ? dense : 0);
  return (attention + feed_forward) * model.element_bytes;
}

MemoryBytes memory_bytes(const ModelShape& model, const Sharding& sharding, std::int64_t num_tokens) {
  const NumParameters parameters = num_parameters(model);
  const auto share = [](std::int64_t total, std::int64_t parts) { return (total + parts - 1) / parts; };
  const std::int64_t expert = share(parameters.expert, sharding.expert_parallel);
  const std::int64_t held = parameters.dense + expert;
  const std::int64_t expert_replicas = sharding.num_ranks / sharding.expert_parallel;
  const std::int64_t owned =
      share(parameters.dense, sharding.num_ranks) + share(expert, expert_replicas > 0 ? expert_replicas : 1);
  MemoryBytes result;
  result.weights = held * model.element_bytes;
  result.gradients = held * (model.element_bytes > 4 ? model.element_bytes : 4);
  result.optimizer = owned * (model.element_bytes >= 4 ? 2 * model.element_bytes : 12);
  result.activations = num_tokens * activation_bytes_per_token(model);
  return result;
}

}  // namespace ballast::scheduler
