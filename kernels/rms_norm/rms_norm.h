#pragma once
// Root-mean-square normalisation over the last dim.
#include <ATen/core/Tensor.h>

namespace ballast::kernels {

struct RmsNorm {
  at::Tensor y;     ///< like x
  at::Tensor rstd;  ///< x without its last dim: 1 / sqrt(mean(x^2) + eps), what the backward pass needs
};

/// Normalises each row: y = x * rstd * weight, rstd = 1 / sqrt(mean(x^2) + eps).
/// Shapes: x [..., D], weight_D [D]; y [..., D], rstd [...].
/// Input: contiguous, fp32 or fp64; a row of heads ([T, N, H]) is normalised head by head.
/// Deterministic: also over the number of threads.
/// Throws: c10::Error on wrong shapes or types.
/// Source: Zhang and Sennrich 2019, arXiv:1910.07467.
RmsNorm rms_norm(const at::Tensor& x, const at::Tensor& weight_D, double eps);

struct RmsNormGradient {
  at::Tensor dx;         ///< like x
  at::Tensor dweight_D;  ///< sum over all rows of dy * x * rstd
};

/// Gradients of rms_norm: with g = dy * weight, dx = rstd * (g - x * rstd^2 * mean(g * x)).
/// Shapes: dy like x, rstd x without its last dim; dx like x, dweight_D [D].
/// Deterministic: partial sums of fixed runs of rows, added in order, whatever the number of threads.
/// Throws: c10::Error on wrong shapes or types.
RmsNormGradient rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight_D, const at::Tensor& rstd);

}  // namespace ballast::kernels
