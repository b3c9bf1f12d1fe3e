#include "kernels/attention/attention.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/empty.h>

#include "kernels/tensor_check.h"

namespace ballast::kernels {
namespace {

void check_arguments(const char* op, const at::Tensor& q_TNH, const at::Tensor& k_TGH, const at::Tensor& v_TGH,
                     std::span<const std::int64_t> offsets) {
  check_floating(op, "q_TNH", q_TNH, {kAnySize, kAnySize, kAnySize});
  check_same_type(op, "k_TGH", k_TGH, q_TNH, {q_TNH.size(0), kAnySize, q_TNH.size(2)});
  check_same_type(op, "v_TGH", v_TGH, q_TNH, k_TGH.sizes());
  TORCH_CHECK(k_TGH.size(1) >= 1 && q_TNH.size(1) >= 1 && q_TNH.size(1) % k_TGH.size(1) == 0, op, ": ", q_TNH.size(1),
              " query heads and ", k_TGH.size(1), " key/value heads, wanted a multiple of the key/value heads");
  TORCH_CHECK(q_TNH.size(2) >= 1, op, ": head size H is 0");
  check_offsets(op, offsets, -1, q_TNH.size(0));
}

/// [T, N, H] rows of one document as the operator's [1, N, T, H], without a copy.
at::Tensor document(const at::Tensor& x_TNH, std::int64_t begin, std::int64_t count) {
  return x_TNH.narrow(0, begin, count).transpose(0, 1).unsqueeze(0);
}

/// Calls fn(first token, number of tokens) for each document that has tokens: the operator dies of SIGFPE on an empty one.
template <typename Fn>
void for_each_document(std::span<const std::int64_t> offsets, const Fn& fn) {
  for (std::size_t b = 0; b + 1 < offsets.size(); ++b) {
    if (offsets[b] < offsets[b + 1]) {
      fn(offsets[b], offsets[b + 1] - offsets[b]);
    }
  }
}

}  // namespace

Attention attention(const at::Tensor& q_TNH, const at::Tensor& k_TGH, const at::Tensor& v_TGH,
                    std::span<const std::int64_t> offsets, double scale) {
  check_arguments("attention", q_TNH, k_TGH, v_TGH, offsets);
  const at::AutoDispatchBelowADInplaceOrView no_graph;
  Attention result{at::empty(q_TNH.sizes(), q_TNH.options()), at::empty({q_TNH.size(0), q_TNH.size(1)}, q_TNH.options())};
  for_each_document(offsets, [&](std::int64_t begin, std::int64_t count) {
    const auto [o, lse] = at::_scaled_dot_product_flash_attention_for_cpu(
        document(q_TNH, begin, count), document(k_TGH, begin, count), document(v_TGH, begin, count), 0.0, true, {}, scale);
    result.o_TNH.narrow(0, begin, count).copy_(o.squeeze(0).transpose(0, 1));
    result.lse_TN.narrow(0, begin, count).copy_(lse.squeeze(0).transpose(0, 1));
  });
  return result;
}

AttentionGradient attention_backward(const at::Tensor& do_TNH, const at::Tensor& q_TNH, const at::Tensor& k_TGH,
                                     const at::Tensor& v_TGH, const at::Tensor& o_TNH, const at::Tensor& lse_TN,
                                     std::span<const std::int64_t> offsets, double scale) {
  const char* op = "attention_backward";
  check_arguments(op, q_TNH, k_TGH, v_TGH, offsets);
  check_same_type(op, "do_TNH", do_TNH, q_TNH, q_TNH.sizes());
  check_same_type(op, "o_TNH", o_TNH, q_TNH, q_TNH.sizes());
  check_same_type(op, "lse_TN", lse_TN, q_TNH, {q_TNH.size(0), q_TNH.size(1)});
  const at::AutoDispatchBelowADInplaceOrView no_graph;
  AttentionGradient result{at::empty(q_TNH.sizes(), q_TNH.options()), at::empty(k_TGH.sizes(), k_TGH.options()),
                           at::empty(v_TGH.sizes(), v_TGH.options())};
  for_each_document(offsets, [&](std::int64_t begin, std::int64_t count) {
    const auto lse = lse_TN.narrow(0, begin, count).transpose(0, 1).unsqueeze(0);
    const auto [dq, dk, dv] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
        document(do_TNH, begin, count), document(q_TNH, begin, count), document(k_TGH, begin, count),
        document(v_TGH, begin, count), document(o_TNH, begin, count), lse, 0.0, true, {}, scale);
    result.dq_TNH.narrow(0, begin, count).copy_(dq.squeeze(0).transpose(0, 1));
    result.dk_TGH.narrow(0, begin, count).copy_(dk.squeeze(0).transpose(0, 1));
    result.dv_TGH.narrow(0, begin, count).copy_(dv.squeeze(0).transpose(0, 1));
  });
  return result;
}

}  // namespace ballast::kernels
