#include "kernels/cross_entropy/cross_entropy.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include <algorithm>

#include "kernels/cross_entropy/cross_entropy_cpu.h"
#include "kernels/tensor_check.h"

namespace ballast::kernels {
namespace {

/// Tokens whose logits exist at one time: 2^20 logits, but enough tokens for the matrix product to be efficient.
std::int64_t tokens_per_run(std::int64_t num_tokens, std::int64_t vocabulary) {
  return std::min(num_tokens, std::max<std::int64_t>(64, (std::int64_t{1} << 20) / vocabulary));
}

void check_arguments(const char* op, const at::Tensor& x_TD, const at::Tensor& weight_VD, const at::Tensor& target_T) {
  check_floating(op, "weight_VD", weight_VD, {kAnySize, kAnySize});
  TORCH_CHECK(weight_VD.size(0) >= 1, op, ": weight_VD has no rows, wanted a vocabulary of at least one");
  check_same_type(op, "x_TD", x_TD, weight_VD, {kAnySize, weight_VD.size(1)});
  check_index(op, "target_T", target_T, x_TD.size(0));
  check_index_range(op, "target_T", target_T, weight_VD.size(0));
}

/// Calls fn(first token, x of the run, logits of the run) for each run of tokens.
template <typename Fn>
void for_each_run(const at::Tensor& x_TD, const at::Tensor& weight_VD, const Fn& fn) {
  const std::int64_t num_tokens = x_TD.size(0), vocabulary = weight_VD.size(0);
  const std::int64_t run = tokens_per_run(num_tokens, vocabulary);
  const at::Tensor buffer = at::empty({run, vocabulary}, x_TD.options());
  for (std::int64_t begin = 0; begin < num_tokens; begin += run) {
    const std::int64_t count = std::min(run, num_tokens - begin);
    const at::Tensor x = x_TD.narrow(0, begin, count);
    at::Tensor logits = buffer.narrow(0, 0, count);
    at::mm_out(logits, x, weight_VD.t());
    fn(begin, x, logits);
  }
}

std::int64_t rows_per_task(std::int64_t vocabulary) { return std::max<std::int64_t>(1, 8192 / vocabulary); }

}  // namespace

at::Tensor linear_cross_entropy(const at::Tensor& x_TD, const at::Tensor& weight_VD, const at::Tensor& target_T) {
  check_arguments("linear_cross_entropy", x_TD, weight_VD, target_T);
  const at::AutoDispatchBelowADInplaceOrView no_graph;
  const std::int64_t vocabulary = weight_VD.size(0);
  at::Tensor loss_T = at::empty({x_TD.size(0)}, x_TD.options());
  for_each_run(x_TD, weight_VD, [&](std::int64_t first, const at::Tensor& x, const at::Tensor& logits_TV) {
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "linear_cross_entropy", [&] {
      const auto* logits = logits_TV.const_data_ptr<scalar_t>();
      const auto* target = target_T.const_data_ptr<std::int64_t>() + first;
      auto* loss = loss_T.mutable_data_ptr<scalar_t>() + first;
      at::parallel_for(0, x.size(0), rows_per_task(vocabulary), [&](std::int64_t begin, std::int64_t end) {
        cross_entropy_rows(logits + begin * vocabulary, target + begin, end - begin, vocabulary, loss + begin);
      });
    });
  });
  return loss_T;
}

LinearCrossEntropyGradient linear_cross_entropy_with_gradient(const at::Tensor& x_TD, const at::Tensor& weight_VD,
                                                              const at::Tensor& target_T, double scale,
                                                              const at::Tensor& dweight_VD) {
  const char* op = "linear_cross_entropy_with_gradient";
  check_arguments(op, x_TD, weight_VD, target_T);
  check_same_type(op, "dweight_VD", dweight_VD, weight_VD, weight_VD.sizes());
  TORCH_CHECK(dweight_VD.const_data_ptr() != weight_VD.const_data_ptr(), op, ": dweight_VD is the weight itself");
  const at::AutoDispatchBelowADInplaceOrView no_graph;
  const std::int64_t vocabulary = weight_VD.size(0);
  LinearCrossEntropyGradient result{at::empty({x_TD.size(0)}, x_TD.options()), at::empty(x_TD.sizes(), x_TD.options())};
  for_each_run(x_TD, weight_VD, [&](std::int64_t first, const at::Tensor& x, const at::Tensor& logits_TV) {
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "linear_cross_entropy_with_gradient", [&] {
      auto* logits = logits_TV.mutable_data_ptr<scalar_t>();
      const auto* target = target_T.const_data_ptr<std::int64_t>() + first;
      auto* loss = result.loss_T.mutable_data_ptr<scalar_t>() + first;
      at::parallel_for(0, x.size(0), rows_per_task(vocabulary), [&](std::int64_t begin, std::int64_t end) {
        cross_entropy_gradient_rows(logits + begin * vocabulary, target + begin, end - begin, vocabulary,
                                    static_cast<scalar_t>(scale), loss + begin);
      });
    });
    at::Tensor dx = result.dx_TD.narrow(0, first, x.size(0));
    at::mm_out(dx, logits_TV, weight_VD);
    dweight_VD.addmm_(logits_TV.t(), x);
  });
  return result;
}

}  // namespace ballast::kernels
