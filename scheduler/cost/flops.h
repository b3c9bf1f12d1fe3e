#pragma once
// What counts as useful work. Formula id "ballast-1": real tokens only, causal half of attention, no recomputation, no padding.
#include <cstdint>
#include <span>

#include "scheduler/cost/model_shape.h"

namespace ballast::scheduler {

inline constexpr const char* kFlopsFormula = "ballast-1";

/// Matrix weights that a token passes: projections, dense or shared and `kept_experts_per_token` routed feed-forwards, router,
/// output head once; every layer makes its own keys and values.
/// Input: kept_experts_per_token is the mean of kept assignments; below 0 = the model's experts_per_token.
double active_weights(const ModelShape& model, double kept_experts_per_token = -1);

/// Floating point operations of a training step (forward and backward): 6 * active_weights * tokens + 6 * layers * N*H * sum of
/// length^2. Evaluation, forward only, is one third of it.
double training_flops(const ModelShape& model, std::span<const std::int64_t> lengths, double kept_experts_per_token = -1);

/// All parameters: routed experts, and everything else.
struct NumParameters {
  std::int64_t dense = 0;
  std::int64_t expert = 0;
  std::int64_t total() const { return dense + expert; }
};
NumParameters num_parameters(const ModelShape& model);

}  // namespace ballast::scheduler
