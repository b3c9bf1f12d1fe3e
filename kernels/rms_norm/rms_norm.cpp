#include "kernels/rms_norm/rms_norm.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>

#include "kernels/rms_norm/rms_norm_cpu.h"
#include "kernels/tensor_check.h"

namespace ballast::kernels {
namespace {

/// Rows whose dweight is summed as one part: about this many elements, a function of the shape alone.
constexpr std::int64_t kElementsPerPart = 32768;

std::int64_t rows_per_part(std::int64_t size) { return std::max<std::int64_t>(1, kElementsPerPart / size); }

void check_rows(const char* op, const at::Tensor& x, const at::Tensor& weight_D) {
  TORCH_CHECK(x.defined() && x.dim() >= 1 && x.size(-1) >= 1, op, ": x needs a last dim of at least one element");
  check_floating(op, "x", x, x.sizes());
  check_same_type(op, "weight_D", weight_D, x, {x.size(-1)});
}

}  // namespace

RmsNorm rms_norm(const at::Tensor& x, const at::Tensor& weight_D, double eps) {
  check_rows("rms_norm", x, weight_D);
  const std::int64_t size = x.size(-1);
  RmsNorm result{at::empty(x.sizes(), x.options()), at::empty(x.sizes().slice(0, x.dim() - 1), x.options())};
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "rms_norm", [&] {
    const auto* in = x.const_data_ptr<scalar_t>();
    const auto* weight = weight_D.const_data_ptr<scalar_t>();
    auto* y = result.y.mutable_data_ptr<scalar_t>();
    auto* rstd = result.rstd.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, x.numel() / size, rows_per_part(size), [&](std::int64_t begin, std::int64_t end) {
      rms_norm_rows(in + begin * size, weight, static_cast<scalar_t>(eps), end - begin, size, y + begin * size, rstd + begin);
    });
  });
  return result;
}

RmsNormGradient rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight_D, const at::Tensor& rstd) {
  check_rows("rms_norm_backward", x, weight_D);
  check_same_type("rms_norm_backward", "dy", dy, x, x.sizes());
  check_same_type("rms_norm_backward", "rstd", rstd, x, x.sizes().slice(0, x.dim() - 1));
  const std::int64_t size = x.size(-1);
  const std::int64_t num_rows = x.numel() / size;
  const std::int64_t part = rows_per_part(size);
  const std::int64_t num_parts = (num_rows + part - 1) / part;
  RmsNormGradient result{at::empty(x.sizes(), x.options()), at::empty({size}, x.options())};
  const at::Tensor parts = at::empty({num_parts, size}, x.options());
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "rms_norm_backward", [&] {
    const auto* gradient = dy.const_data_ptr<scalar_t>();
    const auto* in = x.const_data_ptr<scalar_t>();
    const auto* weight = weight_D.const_data_ptr<scalar_t>();
    const auto* scale = rstd.const_data_ptr<scalar_t>();
    auto* dx = result.dx.mutable_data_ptr<scalar_t>();
    auto* dweight_parts = parts.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, num_parts, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t p = begin; p < end; ++p) {
        const std::int64_t row = p * part;
        rms_norm_backward_rows(gradient + row * size, in + row * size, weight, scale + row, std::min(part, num_rows - row), size,
                               dx + row * size, dweight_parts + p * size);
      }
    });
    auto* dweight = result.dweight_D.mutable_data_ptr<scalar_t>();
    std::fill(dweight, dweight + size, scalar_t{0});
    for (std::int64_t p = 0; p < num_parts; ++p) {
      for (std::int64_t i = 0; i < size; ++i) {
        dweight[i] += dweight_parts[p * size + i];
      }
    }
  });
  return result;
}

}  // namespace ballast::kernels
