#pragma once
// The matrix product of a linear layer without bias, on LibTorch's GEMM.
#include <ATen/core/Tensor.h>

namespace ballast::kernels {

/// y = x W^T.
/// Shapes: x_TD [T, D], weight_FD [F, D]; returns [T, F].
/// Cost: 2 T D F flops.
/// Throws: c10::Error on wrong shapes or types.
at::Tensor linear(const at::Tensor& x_TD, const at::Tensor& weight_FD);

/// Gradient by the input: dx = dy W.
/// Shapes: dy_TF [T, F], weight_FD [F, D]; returns [T, D].
/// Cost: 2 T D F flops.
at::Tensor linear_backward_input(const at::Tensor& dy_TF, const at::Tensor& weight_FD);

/// Adds the gradient by the weight in place: dweight += dy^T x.
/// Shapes: dy_TF [T, F], x_TD [T, D], dweight_FD [F, D].
/// Cost: 2 T D F flops.
void accumulate_linear_weight_gradient(const at::Tensor& dy_TF, const at::Tensor& x_TD, const at::Tensor& dweight_FD);

}  // namespace ballast::kernels
