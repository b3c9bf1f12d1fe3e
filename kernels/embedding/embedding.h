#pragma once
// Table look-up of tokens.
#include <ATen/core/Tensor.h>

namespace ballast::kernels {

/// y[t] = weight[token[t]].
/// Shapes: weight_VD [V, D], token_T [T] int64; returns [T, D].
/// Throws: c10::Error on wrong shapes or types; c10::IndexError on a token outside [0, V).
at::Tensor embedding(const at::Tensor& weight_VD, const at::Tensor& token_T);

/// Adds the gradient in place, in token order: dweight[token[t]] += dy[t].
/// Shapes: dy_TD [T, D], token_T [T], dweight_VD [V, D].
/// Deterministic: also over the number of threads.
void accumulate_embedding_gradient(const at::Tensor& dy_TD, const at::Tensor& token_T, const at::Tensor& dweight_VD);

}  // namespace ballast::kernels
