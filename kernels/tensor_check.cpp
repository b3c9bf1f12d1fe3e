#include "kernels/tensor_check.h"

#include <algorithm>

namespace ballast::kernels {
namespace {

void check_device(std::string_view op, std::string_view name, const at::Tensor& tensor) {
  TORCH_CHECK(tensor.defined(), op, ": ", name, " is undefined");
  TORCH_CHECK(tensor.device().is_cpu(), op, ": ", name, " is on ", tensor.device(),
              ", but this operation has only a CPU kernel in this build; move it to the CPU");
}

void check_shape(std::string_view op, std::string_view name, const at::Tensor& tensor, at::IntArrayRef shape) {
  bool fits = tensor.dim() == static_cast<std::int64_t>(shape.size());
  for (std::size_t dim = 0; fits && dim < shape.size(); ++dim) {
    fits = shape[dim] == kAnySize || shape[dim] == tensor.size(static_cast<std::int64_t>(dim));
  }
  TORCH_CHECK(fits, op, ": ", name, " has shape ", tensor.sizes(), ", wanted ", shape, " (-1 is any size)");
  TORCH_CHECK(tensor.is_contiguous(), op, ": ", name, " of shape ", tensor.sizes(), " is not contiguous (strides ",
              tensor.strides(), "); call contiguous() first");
}

}  // namespace

void check_floating(std::string_view op, std::string_view name, const at::Tensor& tensor, at::IntArrayRef shape) {
  check_device(op, name, tensor);
  const auto type = tensor.scalar_type();
  TORCH_CHECK(type == at::kFloat || type == at::kDouble, op, ": ", name, " is ", type, ", wanted Float or Double");
  check_shape(op, name, tensor, shape);
}

void check_same_type(std::string_view op, std::string_view name, const at::Tensor& tensor, const at::Tensor& like,
                     at::IntArrayRef shape) {
  check_device(op, name, tensor);
  TORCH_CHECK(tensor.scalar_type() == like.scalar_type(), op, ": ", name, " is ", tensor.scalar_type(), ", wanted ",
              like.scalar_type(), " like the other tensors");
  check_shape(op, name, tensor, shape);
}

void check_index(std::string_view op, std::string_view name, const at::Tensor& index, std::int64_t size) {
  check_device(op, name, index);
  TORCH_CHECK(index.scalar_type() == at::kLong, op, ": ", name, " is ", index.scalar_type(), ", wanted Long");
  check_shape(op, name, index, {size});
}

void check_index_range(std::string_view op, std::string_view name, const at::Tensor& index, std::int64_t bound) {
  const auto* values = index.const_data_ptr<std::int64_t>();
  const auto* end = values + index.numel();
  const auto* bad = std::find_if(values, end, [bound](std::int64_t value) { return value < 0 || value >= bound; });
  TORCH_CHECK_INDEX(bad == end, op, ": ", name, "[", bad - values, "] is ", *bad, ", wanted 0 <= index < ", bound);
}

void check_offsets(std::string_view op, std::span<const std::int64_t> offsets, std::int64_t count, std::int64_t total) {
  TORCH_CHECK(!offsets.empty() && (count < 0 || static_cast<std::int64_t>(offsets.size()) == count + 1), op, ": ", offsets.size(),
              " offsets, wanted ", count < 0 ? std::string("at least one") : std::to_string(count + 1));
  TORCH_CHECK(offsets.front() == 0, op, ": offsets begin with ", offsets.front(), ", wanted 0");
  TORCH_CHECK(offsets.back() == total, op, ": offsets end with ", offsets.back(), ", wanted ", total, ", the number of rows");
  const auto fall = std::is_sorted_until(offsets.begin(), offsets.end());
  TORCH_CHECK(fall == offsets.end(), op, ": offsets[", fall - offsets.begin(), "] = ", *fall, " is below the one before it");
}

}  // namespace ballast::kernels
