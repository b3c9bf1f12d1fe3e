#pragma once
// One AdamW step over a flat shard of parameters, on LibTorch's fused operator.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

namespace ballast::kernels {

/// Elements [begin, end) of the shard that share a weight decay.
struct AdamWRun {
  std::int64_t begin = 0, end = 0;
  double weight_decay = 0;
};

struct AdamWOptions {
  double learning_rate = 0;
  double beta1 = 0.9, beta2 = 0.95;
  double eps = 1e-8;
};

/// Updates value, m and v in place (gradient is only read): with g the gradient and t the step,
/// m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g^2,
/// value = value (1 - lr * weight_decay) - lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps).
/// Shapes: value, gradient, m, v [S]; runs cover [0, S) in order without gaps.
/// Input: step counts from 1 for the first update.
/// Throws: c10::Error on wrong shapes, types, runs or a step below 1.
/// Source: Loshchilov and Hutter 2019, arXiv:1711.05101.
void adamw(const at::Tensor& value, const at::Tensor& gradient, const at::Tensor& m, const at::Tensor& v, std::int64_t step,
           const AdamWOptions& options, std::span<const AdamWRun> runs);

}  // namespace ballast::kernels
