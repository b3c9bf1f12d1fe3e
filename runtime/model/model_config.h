#pragma once
// What a decoder of the Glm4Moe family is made of. Plain values; read from the schema by model_config_io.
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <string>

namespace ballast::model {

struct RouterConfig {
  std::string name = "bip_exact";
  int iterations = 4;
  double ema_decay = 0.95;
};

struct ModelConfig {
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;  ///< D
  std::int64_t num_layers = 0;
  std::int64_t num_attention_heads = 0;  ///< N
  std::int64_t num_key_value_heads = 0;  ///< G
  std::int64_t head_dim = 0;             ///< H
  std::int64_t intermediate_size = 0;    ///< hidden width of the dense feed-forward
  std::int64_t num_dense_layers = 0;     ///< leading layers without experts
  std::int64_t num_experts = 0;          ///< E; 0: every layer is dense
  std::int64_t experts_per_token = 0;    ///< K
  std::int64_t num_shared_experts = 0;
  std::int64_t expert_intermediate_size = 0;  ///< F
  bool norm_topk_prob = true;
  double routed_scaling_factor = 1.0;
  bool use_qk_norm = true;
  bool attention_bias = false;
  double rope_theta = 10000.0;
  double rms_norm_eps = 1e-5;
  bool tie_word_embeddings = false;
  double initializer_range = 0.02;
  at::ScalarType dtype = at::kFloat;  ///< kFloat or kDouble
  RouterConfig router;

  bool is_moe_layer(std::int64_t layer) const { return num_experts > 0 && layer >= num_dense_layers; }
};

}  // namespace ballast::model
