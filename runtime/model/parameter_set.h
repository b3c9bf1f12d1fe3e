#pragma once
// The trainable tensors of this rank, in flat buffers that gradients are reduced and sharded over.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace ballast::model {

/// One tensor as this rank holds it: all of it, or a contiguous run of a row-major global tensor.
struct Parameter {
  std::string name;  ///< global and layout-free: "layers.3.experts.gate_up"
  std::vector<std::int64_t> global_shape;
  std::int64_t global_begin = 0;  ///< index in the global tensor of the first element held here
  at::Tensor value;               ///< view into the group's values
  at::Tensor gradient;            ///< view into the group's gradients
  bool has_weight_decay = true;   ///< false for norms and biases
};

/// Parameters that are replicated over the same ranks.
struct ParameterGroup {
  std::string name;      ///< "dense" (replicated on every rank) or "experts" (sharded over ep)
  at::Tensor values;     ///< flat, all parameters in order
  at::Tensor gradients;  ///< flat, same layout
  std::vector<Parameter> parameters;
};

}  // namespace ballast::model
