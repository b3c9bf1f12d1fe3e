#include "runtime/model/model_config_io.h"

#include <fmt/format.h>

#include <stdexcept>

#include "runtime/model/model.pb.h"

namespace ballast::model {
namespace {

at::ScalarType scalar_type(schema::ComputeType type) {
  switch (type) {
    case schema::FLOAT32:
      return at::kFloat;
    case schema::FLOAT64:
      return at::kDouble;
    default:
      throw std::invalid_argument(
          fmt::format("model.compute_type = {}: the kernels of this build compute in FLOAT32 or FLOAT64; choose one of these",
                      schema::ComputeType_Name(type)));
  }
}

}  // namespace

ModelConfig model_config(const schema::Model& message) {
  ModelConfig config;
  config.vocab_size = message.vocab_size();
  config.hidden_size = message.hidden_size();
  config.num_layers = message.num_layers();
  config.num_attention_heads = message.num_attention_heads();
  config.num_key_value_heads = message.num_key_value_heads();
  config.head_dim = message.head_dim();
  config.intermediate_size = message.intermediate_size();
  config.num_dense_layers = message.num_dense_layers();
  config.num_experts = message.num_experts();
  config.experts_per_token = message.experts_per_token();
  config.num_shared_experts = message.num_shared_experts();
  config.expert_intermediate_size = message.expert_intermediate_size();
  config.norm_topk_prob = message.norm_topk_prob();
  config.routed_scaling_factor = message.routed_scaling_factor();
  config.use_qk_norm = message.use_qk_norm();
  config.attention_bias = message.attention_bias();
  config.rope_theta = message.rope_theta();
  config.rms_norm_eps = message.rms_norm_eps();
  config.tie_word_embeddings = message.tie_word_embeddings();
  config.initializer_range = message.initializer_range();
  config.dtype = scalar_type(message.compute_type());
  config.router = {message.router().name(), message.router().iterations(), message.router().ema_decay()};
  return config;
}

}  // namespace ballast::model
