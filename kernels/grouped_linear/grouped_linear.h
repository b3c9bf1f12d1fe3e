#pragma once
// One linear layer per expert over rows that are sorted by expert.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

namespace ballast::kernels {

/// y[r] = x[r] W[e]^T for the rows r of expert e, offsets[e] <= r < offsets[e + 1].
/// Shapes: x_RD [R, D], weight_EFD [E, F, D], offsets E + 1 borders from 0 to R; returns [R, F].
/// Input: an expert may have no rows.
/// Cost: 2 R D F flops.
/// Throws: c10::Error on wrong shapes, types or offsets.
at::Tensor grouped_linear(const at::Tensor& x_RD, const at::Tensor& weight_EFD, std::span<const std::int64_t> offsets);

/// Gradient by the input: dx[r] = dy[r] W[e].
/// Shapes: dy_RF [R, F], weight_EFD [E, F, D]; returns [R, D].
/// Cost: 2 R D F flops.
at::Tensor grouped_linear_backward_input(const at::Tensor& dy_RF, const at::Tensor& weight_EFD,
                                         std::span<const std::int64_t> offsets);

/// Adds the gradients by the weights in place: dweight[e] += dy_e^T x_e; an expert without rows is left as it is.
/// Shapes: dy_RF [R, F], x_RD [R, D], dweight_EFD [E, F, D].
/// Cost: 2 R D F flops.
void accumulate_grouped_linear_weight_gradient(const at::Tensor& dy_RF, const at::Tensor& x_RD, const at::Tensor& dweight_EFD,
                                               std::span<const std::int64_t> offsets);

}  // namespace ballast::kernels
