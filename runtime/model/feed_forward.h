#pragma once
// down(swiglu(gate_up(x))): the dense feed-forward, also the shape of the shared experts; and the layer around it.
#include "runtime/model/model_config.h"
#include "runtime/model/parameters.h"
#include "runtime/model/weight_gradients.h"

namespace ballast::model {

/// What backward needs of one forward call.
struct FeedForwardActivations {
  at::Tensor gate_up_T2F, hidden_TF;
};

struct FeedForward {
  Weight gate_up, down;

  /// Shapes: x [T, D] -> [T, D].
  at::Tensor forward(const at::Tensor& x_TD, FeedForwardActivations& activations) const;
  /// Returns: dx [T, D]; `gradients` gets those of the weights.
  at::Tensor backward(const at::Tensor& dy_TD, const at::Tensor& x_TD, const FeedForwardActivations& activations,
                      WeightGradients& gradients) const;
};

struct DenseLayerActivations {
  at::Tensor x_TD, rstd_T, normed_TD;
  FeedForwardActivations feed_forward;
};

/// x + feed_forward(norm(x)).
class DenseLayer {
 public:
  DenseLayer(const ModelConfig& config, const Parameters& parameters, std::int64_t layer);
  at::Tensor forward(const at::Tensor& x_TD, DenseLayerActivations& activations) const;
  /// Returns: dx [T, D]; `gradients` gets those of the weights.
  at::Tensor backward(const at::Tensor& dy_TD, const DenseLayerActivations& activations, WeightGradients& gradients) const;

 private:
  double rms_norm_eps_;
  Weight norm_;
  FeedForward feed_forward_;
};

}  // namespace ballast::model
