#pragma once
// What every kernel demands of its tensors, said in one way.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string_view>

namespace ballast::kernels {

/// Any size in the shape given to check_tensor.
inline constexpr std::int64_t kAnySize = -1;

/// Refuses what no kernel computes with: undefined, not on the CPU, neither float nor double, not contiguous, other number of
/// dims. Throws: c10::Error that names the operation, the tensor, what came and what was wanted.
void check_floating(std::string_view op, std::string_view name, const at::Tensor& tensor, at::IntArrayRef shape);

/// check_floating, and the same element type as `like`.
void check_same_type(std::string_view op, std::string_view name, const at::Tensor& tensor, const at::Tensor& like,
                     at::IntArrayRef shape);

/// Refuses an index tensor that is not a contiguous int64 vector of `size` elements on the CPU.
void check_index(std::string_view op, std::string_view name, const at::Tensor& index, std::int64_t size);

/// Refuses an index outside [0, bound).
void check_index_range(std::string_view op, std::string_view name, const at::Tensor& index, std::int64_t bound);

/// Refuses offsets that are not 0 = o[0] <= o[1] <= ... <= o[count] = total; count < 0 means any number of at least one.
void check_offsets(std::string_view op, std::span<const std::int64_t> offsets, std::int64_t count, std::int64_t total);

}  // namespace ballast::kernels
