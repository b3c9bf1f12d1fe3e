#pragma once
// The sizes of a model that planning needs. Plain data; the text form is runtime/model/model.proto.
#include <cstdint>
#include <string>

namespace ballast::scheduler {

struct ModelShape {
  std::string name;
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;  ///< D
  std::int64_t num_layers = 0;
  std::int64_t num_attention_heads = 0;       ///< N
  std::int64_t num_key_value_heads = 0;       ///< G; divides N
  std::int64_t head_dim = 0;                  ///< H
  std::int64_t intermediate_size = 0;         ///< width of a dense feed-forward
  std::int64_t num_dense_layers = 0;          ///< leading layers without experts; all of them if num_experts is 0
  std::int64_t num_experts = 0;               ///< E
  std::int64_t experts_per_token = 0;         ///< K
  std::int64_t num_shared_experts = 0;        ///< as wide as one expert each
  std::int64_t expert_intermediate_size = 0;  ///< F
  bool use_qk_norm = false;
  bool attention_bias = false;
  bool tie_word_embeddings = false;
  int element_bytes = 4;  ///< of weights and activations: 4 float32, 2 bfloat16, 8 float64

  std::int64_t query_width() const { return num_attention_heads * head_dim; }
  std::int64_t key_width() const { return num_key_value_heads * head_dim; }
  std::int64_t num_moe_layers() const {
    return num_experts == 0 || num_dense_layers > num_layers ? 0 : num_layers - num_dense_layers;
  }
  bool operator==(const ModelShape&) const = default;
};

}  // namespace ballast::scheduler
