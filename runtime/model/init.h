#pragma once
// Initial weights: stated in one place, and independent of how many ranks hold which part.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>

namespace ballast::model {

/// Fills `values` with draws of N(0, standard_deviation). Element i of `values` is element `global_begin + i` of the
/// global tensor `name`, and its value depends on (seed, name, global index) alone.
/// Deterministic: the same on every rank, for every sharding; drawn in double, then rounded to the tensor's type.
void fill_normal(const at::Tensor& values, double standard_deviation, std::uint64_t seed, std::string_view name,
                 std::int64_t global_begin);

}  // namespace ballast::model
