#include "scheduler/cost/model_shape_io.h"

#include <fmt/format.h>

#include <stdexcept>

#include "runtime/model/model.pb.h"

namespace ballast::scheduler {

ModelShape model_shape_from(const schema::Model& model) {
  ModelShape shape;
  shape.name = model.name();
  shape.vocab_size = model.vocab_size();
  shape.hidden_size = model.hidden_size();
  shape.num_layers = model.num_layers();
  shape.num_attention_heads = model.num_attention_heads();
  shape.num_key_value_heads = model.num_key_value_heads();
  shape.head_dim = model.head_dim();
  shape.intermediate_size = model.intermediate_size();
  shape.num_experts = model.num_experts();
  shape.num_dense_layers = shape.num_experts == 0 ? shape.num_layers : model.num_dense_layers();
  shape.use_qk_norm = model.use_qk_norm();
  shape.attention_bias = model.attention_bias();
  shape.tie_word_embeddings = model.tie_word_embeddings();
  shape.element_bytes = model.compute_type() == schema::BFLOAT16 ? 2 : model.compute_type() == schema::FLOAT64 ? 8 : 4;
  if (shape.num_experts > 0) {
    shape.experts_per_token = model.experts_per_token();
    shape.num_shared_experts = model.num_shared_experts();
    shape.expert_intermediate_size = model.expert_intermediate_size();
  }
  if (shape.num_key_value_heads < 1 || shape.num_attention_heads % shape.num_key_value_heads != 0) {
    throw std::invalid_argument(fmt::format("model: {} attention heads and {} key/value heads; the second must divide the first",
                                            shape.num_attention_heads, shape.num_key_value_heads));
  }
  if (shape.num_moe_layers() > 0 && shape.expert_intermediate_size < 1) {
    throw std::invalid_argument(fmt::format("model: {} experts of width {}; set expert_intermediate_size", shape.num_experts,
                                            shape.expert_intermediate_size));
  }
  if (shape.experts_per_token > shape.num_experts) {
    throw std::invalid_argument(
        fmt::format("model: {} experts per token, but only {} experts", shape.experts_per_token, shape.num_experts));
  }
  return shape;
}

}  // namespace ballast::scheduler
