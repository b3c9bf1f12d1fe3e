#include "kernels/grouped_linear/grouped_linear.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include "kernels/tensor_check.h"

namespace ballast::kernels {
namespace {

/// Calls fn(expert, first row, number of rows) for each expert that has rows.
template <typename Fn>
void for_each_expert(std::span<const std::int64_t> offsets, const Fn& fn) {
  for (std::size_t e = 0; e + 1 < offsets.size(); ++e) {
    if (offsets[e] < offsets[e + 1]) {
      fn(static_cast<std::int64_t>(e), offsets[e], offsets[e + 1] - offsets[e]);
    }
  }
}

}  // namespace

at::Tensor grouped_linear(const at::Tensor& x_RD, const at::Tensor& weight_EFD, std::span<const std::int64_t> offsets) {
  check_floating("grouped_linear", "weight_EFD", weight_EFD, {kAnySize, kAnySize, kAnySize});
  check_same_type("grouped_linear", "x_RD", x_RD, weight_EFD, {kAnySize, weight_EFD.size(2)});
  check_offsets("grouped_linear", offsets, weight_EFD.size(0), x_RD.size(0));
  const at::AutoDispatchBelowADInplaceOrView no_graph;
  at::Tensor y_RF = at::empty({x_RD.size(0), weight_EFD.size(1)}, x_RD.options());
  for_each_expert(offsets, [&](std::int64_t e, std::int64_t begin, std::int64_t count) {
    at::Tensor y = y_RF.narrow(0, begin, count);
    at::mm_out(y, x_RD.narrow(0, begin, count), weight_EFD.select(0, e).t());
  });
  return y_RF;
}

at::Tensor grouped_linear_backward_input(const at::Tensor& dy_RF, const at::Tensor& weight_EFD,
                                         std::span<const std::int64_t> offsets) {
  const char* op = "grouped_linear_backward_input";
  check_floating(op, "weight_EFD", weight_EFD, {kAnySize, kAnySize, kAnySize});
  check_same_type(op, "dy_RF", dy_RF, weight_EFD, {kAnySize, weight_EFD.size(1)});
  check_offsets(op, offsets, weight_EFD.size(0), dy_RF.size(0));
  const at::AutoDispatchBelowADInplaceOrView no_graph;
  at::Tensor dx_RD = at::empty({dy_RF.size(0), weight_EFD.size(2)}, dy_RF.options());
  for_each_expert(offsets, [&](std::int64_t e, std::int64_t begin, std::int64_t count) {
    at::Tensor dx = dx_RD.narrow(0, begin, count);
    at::mm_out(dx, dy_RF.narrow(0, begin, count), weight_EFD.select(0, e));
  });
  return dx_RD;
}

void accumulate_grouped_linear_weight_gradient(const at::Tensor& dy_RF, const at::Tensor& x_RD, const at::Tensor& dweight_EFD,
                                               std::span<const std::int64_t> offsets) {
  const char* op = "accumulate_grouped_linear_weight_gradient";
  check_floating(op, "dweight_EFD", dweight_EFD, {kAnySize, kAnySize, kAnySize});
  check_same_type(op, "dy_RF", dy_RF, dweight_EFD, {kAnySize, dweight_EFD.size(1)});
  check_same_type(op, "x_RD", x_RD, dweight_EFD, {dy_RF.size(0), dweight_EFD.size(2)});
  check_offsets(op, offsets, dweight_EFD.size(0), dy_RF.size(0));
  const at::AutoDispatchBelowADInplaceOrView no_graph;
  for_each_expert(offsets, [&](std::int64_t e, std::int64_t begin, std::int64_t count) {
    dweight_EFD.select(0, e).addmm_(dy_RF.narrow(0, begin, count).t(), x_RD.narrow(0, begin, count));
  });
}

}  // namespace ballast::kernels
