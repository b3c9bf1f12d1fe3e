#pragma once
// Loops of rotary over raw memory.
#include <cstdint>

namespace ballast::kernels {

/// Advances `half` unit vectors (cos, sin) by one position.
void rotate_on(const double* step_cos, const double* step_sin, std::int64_t half, double* cos, double* sin);

/// Rotates the heads of one token by (cos, sin), or back by (cos, -sin).
void rotary_heads(const float* x, const double* cos, const double* sin, std::int64_t num_heads, std::int64_t half, float* y);
void rotary_heads(const double* x, const double* cos, const double* sin, std::int64_t num_heads, std::int64_t half, double* y);

}  // namespace ballast::kernels
