#pragma once
// Output head and cross-entropy in one: logits exist for a run of tokens at a time, never T x V.
#include <ATen/core/Tensor.h>

namespace ballast::kernels {

/// loss[t] = log(sum over v of exp(logits[t, v])) - logits[t, target[t]] with logits = x W^T.
/// Shapes: x_TD [T, D], weight_VD [V, D], target_T [T] int64; returns [T].
/// Units: nats per token.
/// Cost: 2 T D V flops; memory of about 4 MB of logits, or 64 tokens of them where V is large.
/// Deterministic: tokens are cut into runs by V alone, whatever the number of threads.
/// Throws: c10::Error on wrong shapes or types; c10::IndexError on a target outside [0, V).
at::Tensor linear_cross_entropy(const at::Tensor& x_TD, const at::Tensor& weight_VD, const at::Tensor& target_T);

struct LinearCrossEntropyGradient {
  at::Tensor loss_T;  ///< nats per token, not scaled
  at::Tensor dx_TD;   ///< gradient of scale * sum(loss) by x
};

/// linear_cross_entropy and its gradients in one pass over the logits: dlogits = scale * (softmax(logits) - onehot(target)),
/// dx = dlogits W, dweight += dlogits^T x.
/// Shapes: x_TD [T, D], weight_VD [V, D], target_T [T], dweight_VD [V, D] (in place; may not be the weight itself).
/// Input: scale is the derivative of the training loss by each token's loss, such as 1 / tokens of the step.
/// Cost: 6 T D V flops; memory as linear_cross_entropy.
LinearCrossEntropyGradient linear_cross_entropy_with_gradient(const at::Tensor& x_TD, const at::Tensor& weight_VD,
                                                              const at::Tensor& target_T, double scale,
                                                              const at::Tensor& dweight_VD);

}  // namespace ballast::kernels
