#pragma once
// Rotary position embedding over the whole head.
#include <ATen/core/Tensor.h>

namespace ballast::kernels {

/// Rotates each head by its token's position (half-split, "NeoX" form): with angle a = position * theta^(-2i/H), i < H/2,
/// y[i] = x[i] cos a - x[i + H/2] sin a and y[i + H/2] = x[i + H/2] cos a + x[i] sin a.
/// Angles are computed in double; a value depends on its own position alone, so packing documents changes no bit.
/// Shapes: x_TNH [T, N, H], position_T [T]; returns [T, N, H].
/// Input: H even; positions int64, not negative, in any order.
/// Deterministic: also over the number of threads.
/// Throws: c10::Error on wrong shapes or types, an odd H, a negative position, theta not above 0.
/// Source: Su et al. 2021, arXiv:2104.09864.
at::Tensor rotary(const at::Tensor& x_TNH, const at::Tensor& position_T, double theta);

/// Gradient of rotary: the rotation by the negative angle.
/// Shapes: as rotary.
at::Tensor rotary_backward(const at::Tensor& dy_TNH, const at::Tensor& position_T, double theta);

}  // namespace ballast::kernels
