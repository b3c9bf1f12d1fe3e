#pragma once
// Allocates a model's parameters: which tensors there are, how they are named and initialised, who holds what.
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

#include "runtime/model/model_config.h"
#include "runtime/model/parameter_set.h"

namespace ballast::model {

/// Which run of the experts this rank holds: experts [index * E / size, (index + 1) * E / size).
struct ExpertShard {
  int index = 0;
  int size = 1;
};

/// A value and where its gradient is added; views into the flat buffers.
struct Weight {
  at::Tensor value;
  at::Tensor gradient;
};

/// The parameters of this rank, initialised.
/// Initialisation: matrices N(0, initializer_range), those that write to the residual stream divided by sqrt(2 num_layers);
/// norms one; biases zero. Values do not depend on the sharding.
class Parameters {
 public:
  /// Throws: std::invalid_argument when the experts cannot be divided evenly over the shard's ranks.
  Parameters(const ModelConfig& config, ExpertShard shard, std::uint64_t seed);
  Parameters(const Parameters&) = delete;
  Parameters& operator=(const Parameters&) = delete;

  ParameterGroup& dense() { return dense_; }
  ParameterGroup& experts() { return experts_; }
  /// The tensor of that global name. Throws: c10::Error for an unknown one.
  Weight weight(std::string_view name) const;
  void zero_gradients();

 private:
  ParameterGroup dense_{"dense", {}, {}, {}};
  ParameterGroup experts_{"experts", {}, {}, {}};
  std::unordered_map<std::string, Weight> by_name_;
};

/// "layers.<layer>.<part>"
std::string layer_parameter_name(std::int64_t layer, std::string_view part);

}  // namespace ballast::model
