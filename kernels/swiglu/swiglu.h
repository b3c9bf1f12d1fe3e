#pragma once
// The gated activation of the feed-forward layers.
#include <ATen/core/Tensor.h>

namespace ballast::kernels {

/// y = silu(gate) * up with silu(g) = g / (1 + exp(-g)); gate is the first F columns, up the last F.
/// Shapes: gate_up_T2F [T, 2F]; returns [T, F].
/// Deterministic: also over the number of threads.
/// Throws: c10::Error on wrong types or an odd number of columns.
/// Source: Shazeer 2020, arXiv:2002.05202.
at::Tensor swiglu(const at::Tensor& gate_up_T2F);

/// Gradient of swiglu: with s = 1 / (1 + exp(-gate)), dgate = dy * up * s * (1 + gate * (1 - s)), dup = dy * gate * s.
/// Shapes: dy_TF [T, F], gate_up_T2F [T, 2F]; returns [T, 2F].
at::Tensor swiglu_backward(const at::Tensor& dy_TF, const at::Tensor& gate_up_T2F);

}  // namespace ballast::kernels
