#pragma once
#include <ATen/core/Tensor.h>

namespace ballast::optim {

/// Sum of the squared elements, in double. The same bits for the same values, whatever the number of threads.
double sum_of_squares(const at::Tensor& values);

/// Factor that brings gradients of norm `norm` to at most `clip_norm`; 1 when they are within it, or when clip_norm is 0.
/// Throws: std::runtime_error when the norm is not finite.
double clip_factor(double norm, double clip_norm);

}  // namespace ballast::optim
