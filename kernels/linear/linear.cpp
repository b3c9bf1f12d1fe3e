#include "kernels/linear/linear.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>

#include "kernels/tensor_check.h"

namespace ballast::kernels {

at::Tensor linear(const at::Tensor& x_TD, const at::Tensor& weight_FD) {
  check_floating("linear", "weight_FD", weight_FD, {kAnySize, kAnySize});
  check_same_type("linear", "x_TD", x_TD, weight_FD, {kAnySize, weight_FD.size(1)});
  const at::AutoDispatchBelowADInplaceOrView no_graph;
  return at::mm(x_TD, weight_FD.t());
}

at::Tensor linear_backward_input(const at::Tensor& dy_TF, const at::Tensor& weight_FD) {
  check_floating("linear_backward_input", "weight_FD", weight_FD, {kAnySize, kAnySize});
  check_same_type("linear_backward_input", "dy_TF", dy_TF, weight_FD, {kAnySize, weight_FD.size(0)});
  const at::AutoDispatchBelowADInplaceOrView no_graph;
  return at::mm(dy_TF, weight_FD);
}

void accumulate_linear_weight_gradient(const at::Tensor& dy_TF, const at::Tensor& x_TD, const at::Tensor& dweight_FD) {
  const char* op = "accumulate_linear_weight_gradient";
  check_floating(op, "dweight_FD", dweight_FD, {kAnySize, kAnySize});
  check_same_type(op, "dy_TF", dy_TF, dweight_FD, {kAnySize, dweight_FD.size(0)});
  check_same_type(op, "x_TD", x_TD, dweight_FD, {dy_TF.size(0), dweight_FD.size(1)});
  const at::AutoDispatchBelowADInplaceOrView no_graph;
  dweight_FD.addmm_(dy_TF.t(), x_TD);
}

}  // namespace ballast::kernels
