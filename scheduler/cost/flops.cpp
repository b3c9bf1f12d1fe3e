#include "scheduler/cost/flops.h"

namespace ballast::scheduler {

double active_weights(const ModelShape& model, double kept_experts_per_token) {
  const double width = static_cast<double>(model.hidden_size);
  const double kept = kept_experts_per_token < 0 ? static_cast<double>(model.experts_per_token) : kept_experts_per_token;
  const double num_moe = static_cast<double>(model.num_moe_layers());
  const double num_layers = static_cast<double>(model.num_layers);
  const double query_and_output = 2 * width * static_cast<double>(model.query_width());
  const double key_and_value = 2 * width * static_cast<double>(model.key_width());
  const double dense = 3 * width * static_cast<double>(model.intermediate_size);
  const double expert = 3 * width * static_cast<double>(model.expert_intermediate_size);
  const double moe =
      expert * (static_cast<double>(model.num_shared_experts) + kept) + width * static_cast<double>(model.num_experts);
  return num_layers * query_and_output + num_layers * key_and_value + (num_layers - num_moe) * dense + num_moe * moe +
         static_cast<double>(model.vocab_size) * width;
}

double training_flops(const ModelShape& model, std::span<const std::int64_t> lengths, double kept_experts_per_token) {
  double tokens = 0;
  double squares = 0;
  for (const std::int64_t length : lengths) {
    tokens += static_cast<double>(length);
    squares += static_cast<double>(length) * static_cast<double>(length);
  }
  return 6 * active_weights(model, kept_experts_per_token) * tokens +
         6 * static_cast<double>(model.num_layers) * static_cast<double>(model.query_width()) * squares;
}

NumParameters num_parameters(const ModelShape& model) {
  const std::int64_t width = model.hidden_size;
  std::int64_t layer = 2 * width + width * (model.query_width() + 2 * model.key_width()) + model.query_width() * width;
  if (model.use_qk_norm) layer += 2 * model.head_dim;
  if (model.attention_bias) layer += model.query_width() + 2 * model.key_width();
  const std::int64_t num_moe = model.num_moe_layers();
  const std::int64_t expert = 3 * width * model.expert_intermediate_size;
  NumParameters result;
  result.dense = model.num_layers * layer + (model.num_layers - num_moe) * 3 * width * model.intermediate_size;
  // A router has its matrix and one selection bias per expert.
  result.dense += num_moe * (model.num_shared_experts * expert + (width + 1) * model.num_experts);
  result.dense += width + model.vocab_size * width * (model.tie_word_embeddings ? 1 : 2);
  result.expert = num_moe * model.num_experts * expert;
  return result;
}

}  // namespace ballast::scheduler
