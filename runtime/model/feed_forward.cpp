#include "runtime/model/feed_forward.h"

#include <ATen/TensorOperators.h>

#include "kernels/linear/linear.h"
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/swiglu/swiglu.h"

namespace ballast::model {

at::Tensor FeedForward::forward(const at::Tensor& x_TD, FeedForwardActivations& activations) const {
  activations.gate_up_T2F = kernels::linear(x_TD, gate_up.value);
  activations.hidden_TF = kernels::swiglu(activations.gate_up_T2F);
  return kernels::linear(activations.hidden_TF, down.value);
}

at::Tensor FeedForward::backward(const at::Tensor& dy_TD, const at::Tensor& x_TD, const FeedForwardActivations& activations,
                                 WeightGradients& gradients) const {
  gradients.add_linear(dy_TD, activations.hidden_TF, down);
  const at::Tensor dhidden_TF = kernels::linear_backward_input(dy_TD, down.value);
  const at::Tensor dgate_up_T2F = kernels::swiglu_backward(dhidden_TF, activations.gate_up_T2F);
  gradients.add_linear(dgate_up_T2F, x_TD, gate_up);
  return kernels::linear_backward_input(dgate_up_T2F, gate_up.value);
}

DenseLayer::DenseLayer(const ModelConfig& config, const Parameters& parameters, std::int64_t layer)
    : rms_norm_eps_(config.rms_norm_eps),
      norm_(parameters.weight(layer_parameter_name(layer, "feed_forward.norm.weight"))),
      feed_forward_{parameters.weight(layer_parameter_name(layer, "feed_forward.gate_up.weight")),
                    parameters.weight(layer_parameter_name(layer, "feed_forward.down.weight"))} {}

at::Tensor DenseLayer::forward(const at::Tensor& x_TD, DenseLayerActivations& activations) const {
  const kernels::RmsNorm norm = kernels::rms_norm(x_TD, norm_.value, rms_norm_eps_);
  activations.x_TD = x_TD;
  activations.rstd_T = norm.rstd;
  activations.normed_TD = norm.y;
  return feed_forward_.forward(norm.y, activations.feed_forward).add_(x_TD);
}

at::Tensor DenseLayer::backward(const at::Tensor& dy_TD, const DenseLayerActivations& activations,
                                WeightGradients& gradients) const {
  const at::Tensor dnormed_TD = feed_forward_.backward(dy_TD, activations.normed_TD, activations.feed_forward, gradients);
  const kernels::RmsNormGradient norm = kernels::rms_norm_backward(dnormed_TD, activations.x_TD, norm_.value, activations.rstd_T);
  gradients.add_part(norm.dweight_D, norm_);
  return norm.dx.add_(dy_TD);
}

}  // namespace ballast::model
