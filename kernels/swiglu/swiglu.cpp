#include "kernels/swiglu/swiglu.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>

#include "kernels/swiglu/swiglu_cpu.h"
#include "kernels/tensor_check.h"

namespace ballast::kernels {
namespace {

std::int64_t rows_per_task(std::int64_t size) { return std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, size)); }

void check_gate_up(const char* op, const at::Tensor& gate_up_T2F) {
  check_floating(op, "gate_up_T2F", gate_up_T2F, {kAnySize, kAnySize});
  TORCH_CHECK(gate_up_T2F.size(1) % 2 == 0, op, ": gate_up_T2F has ", gate_up_T2F.size(1), " columns, wanted an even number");
}

}  // namespace

at::Tensor swiglu(const at::Tensor& gate_up_T2F) {
  check_gate_up("swiglu", gate_up_T2F);
  const std::int64_t num_tokens = gate_up_T2F.size(0), size = gate_up_T2F.size(1) / 2;
  at::Tensor y_TF = at::empty({num_tokens, size}, gate_up_T2F.options());
  AT_DISPATCH_FLOATING_TYPES(gate_up_T2F.scalar_type(), "swiglu", [&] {
    const auto* gate_up = gate_up_T2F.const_data_ptr<scalar_t>();
    auto* y = y_TF.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, num_tokens, rows_per_task(size), [&](std::int64_t begin, std::int64_t end) {
      swiglu_rows(gate_up + begin * 2 * size, end - begin, size, y + begin * size);
    });
  });
  return y_TF;
}

at::Tensor swiglu_backward(const at::Tensor& dy_TF, const at::Tensor& gate_up_T2F) {
  check_gate_up("swiglu_backward", gate_up_T2F);
  const std::int64_t num_tokens = gate_up_T2F.size(0), size = gate_up_T2F.size(1) / 2;
  check_same_type("swiglu_backward", "dy_TF", dy_TF, gate_up_T2F, {num_tokens, size});
  at::Tensor dgate_up_T2F = at::empty({num_tokens, 2 * size}, gate_up_T2F.options());
  AT_DISPATCH_FLOATING_TYPES(gate_up_T2F.scalar_type(), "swiglu_backward", [&] {
    const auto* dy = dy_TF.const_data_ptr<scalar_t>();
    const auto* gate_up = gate_up_T2F.const_data_ptr<scalar_t>();
    auto* dgate_up = dgate_up_T2F.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, num_tokens, rows_per_task(size), [&](std::int64_t begin, std::int64_t end) {
      swiglu_backward_rows(dy + begin * size, gate_up + begin * 2 * size, end - begin, size, dgate_up + begin * 2 * size);
    });
  });
  return dgate_up_T2F;
}

}  // namespace ballast::kernels
