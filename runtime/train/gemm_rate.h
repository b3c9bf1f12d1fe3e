#pragma once
// How fast this machine multiplies matrices right now: the denominator of MFU where no honest peak is known.
#include <c10/core/ScalarType.h>

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/model/model_config.h"

namespace ballast::train {

/// Rows, inner width and columns of one product.
using GemmShape = std::array<std::int64_t, 3>;

/// The three products with most operations of a step of `num_tokens` tokens, and a cube of 2048.
std::vector<GemmShape> gemm_shapes(const model::ModelConfig& config, std::int64_t num_tokens);

/// Best rate over the shapes, each repeated for about `seconds_per_shape` after one warm-up call; all threads of this rank.
/// Call it on all ranks at the same time: they share the cores during training too.
/// Units: floating point operations per second.
double measure_gemm_rate(std::span<const GemmShape> shapes, at::ScalarType dtype, double seconds_per_shape);

}  // namespace ballast::train
