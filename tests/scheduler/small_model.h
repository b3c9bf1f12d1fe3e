#pragma once
#include "scheduler/cost/model_shape.h"

namespace ballast::scheduler {

/// Two dense layers, eight query heads of 64 and two of keys and values.
inline ModelShape small_model() {
  ModelShape model;
  model.vocab_size = 100;
  model.hidden_size = 512;
  model.num_layers = 2;
  model.num_attention_heads = 8;
  model.num_key_value_heads = 2;
  model.head_dim = 64;
  model.intermediate_size = 1024;
  model.num_dense_layers = 2;
  return model;
}

}  // namespace ballast::scheduler
