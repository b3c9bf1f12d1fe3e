#include "kernels/attention/attention.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>

#include "kernels/attention_merge/attention_merge.h"
#include "kernels/tensor_check.h"

namespace ballast::kernels {
namespace {

/// `num_keys` is kAnySize where keys may be another run than the queries.
void check_arguments(const char* op, const at::Tensor& q_TNH, const at::Tensor& k_SGH, const at::Tensor& v_SGH,
                     std::int64_t num_keys) {
  check_same_type(op, "k", k_SGH, q_TNH, {num_keys, kAnySize, q_TNH.size(2)});
  check_same_type(op, "v", v_SGH, q_TNH, k_SGH.sizes());
  TORCH_CHECK(k_SGH.size(1) >= 1 && q_TNH.size(1) >= 1 && q_TNH.size(1) % k_SGH.size(1) == 0, op, ": ", q_TNH.size(1),
              " query heads and ", k_SGH.size(1), " key/value heads, wanted a multiple of the key/value heads");
  TORCH_CHECK(q_TNH.size(2) >= 1, op, ": head size H is 0");
}

void check_query(const char* op, const at::Tensor& q_TNH) { check_floating(op, "q_TNH", q_TNH, {kAnySize, kAnySize, kAnySize}); }

void check_saved(const char* op, const at::Tensor& do_TNH, const at::Tensor& q_TNH, const at::Tensor& o_TNH,
                 const at::Tensor& lse_TN) {
  check_same_type(op, "do_TNH", do_TNH, q_TNH, q_TNH.sizes());
  check_same_type(op, "o_TNH", o_TNH, q_TNH, q_TNH.sizes());
  check_same_type(op, "lse_TN", lse_TN, q_TNH, q_TNH.sizes().slice(0, 2));
}

/// A run of rows.
struct Rows {
  std::int64_t begin, count;
  at::Tensor of(const at::Tensor& x) const { return x.narrow(0, begin, count); }
  /// [T, N, H] rows (or [T, N]) as the operator's [1, N, T, H], without a copy.
  at::Tensor heads_first(const at::Tensor& x) const { return of(x).transpose(0, 1).unsqueeze(0); }
};

/// Back from the operator's [1, N, T, H].
at::Tensor tokens_first(const at::Tensor& x) { return x.squeeze(0).transpose(0, 1); }

/// One call of the operator. Its mask is aligned at the top left, query i sees keys 0 .. i of the run, which is what "the first
/// query stands at the first key" means; it dies of SIGFPE without queries or keys.
struct Call {
  Rows queries, keys;
  bool is_causal;

  Attention forward(const at::Tensor& q_TNH, const at::Tensor& k_SGH, const at::Tensor& v_SGH, double scale) const {
    const auto [o, lse] = at::_scaled_dot_product_flash_attention_for_cpu(queries.heads_first(q_TNH), keys.heads_first(k_SGH),
                                                                          keys.heads_first(v_SGH), 0.0, is_causal, {}, scale);
    return {tokens_first(o), tokens_first(lse)};
  }

  AttentionGradient backward(const at::Tensor& do_TNH, const at::Tensor& q_TNH, const at::Tensor& k_SGH, const at::Tensor& v_SGH,
                             const at::Tensor& o_TNH, const at::Tensor& lse_TN, double scale) const {
    const auto [dq, dk, dv] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
        queries.heads_first(do_TNH), queries.heads_first(q_TNH), keys.heads_first(k_SGH), keys.heads_first(v_SGH),
        queries.heads_first(o_TNH), queries.heads_first(lse_TN), 0.0, is_causal, {}, scale);
    return {tokens_first(dq), tokens_first(dk), tokens_first(dv)};
  }
};

/// Calls fn(document) for each document that has tokens.
template <typename Fn>
void for_each_document(std::span<const std::int64_t> offsets, const Fn& fn) {
  for (std::size_t b = 0; b + 1 < offsets.size(); ++b) {
    if (offsets[b] < offsets[b + 1]) {
      const Rows rows{offsets[b], offsets[b + 1] - offsets[b]};
      fn(Call{rows, rows, true});
    }
  }
}

/// Calls fn(call) for the parts of a block that have visible pairs, at most two: the keys before the first query, which every
/// query sees, and the keys from the first query on, which meet the queries diagonally.
template <typename Fn>
void for_each_part(std::int64_t num_queries, std::int64_t num_keys, std::int64_t query_begin, std::int64_t key_begin,
                   const Fn& fn) {
  const std::int64_t before = std::clamp<std::int64_t>(query_begin - key_begin, 0, num_keys);
  if (num_queries > 0 && before > 0) {
    fn(Call{{0, num_queries}, {0, before}, false});
  }
  const std::int64_t blind = std::clamp<std::int64_t>(key_begin - query_begin, 0, num_queries);  // queries before the first key
  const std::int64_t queries = num_queries - blind;
  const std::int64_t keys = std::min(num_keys - before, queries);  // later keys are hidden from all
  if (queries > 0 && keys > 0) {
    fn(Call{{blind, queries}, {before, keys}, true});
  }
}

}  // namespace

Attention attention(const at::Tensor& q_TNH, const at::Tensor& k_TGH, const at::Tensor& v_TGH,
                    std::span<const std::int64_t> offsets, double scale) {
  check_query("attention", q_TNH);
  check_arguments("attention", q_TNH, k_TGH, v_TGH, q_TNH.size(0));
  check_offsets("attention", offsets, -1, q_TNH.size(0));
  const at::AutoDispatchBelowADInplaceOrView no_graph;
  Attention result{at::empty(q_TNH.sizes(), q_TNH.options()), at::empty(q_TNH.sizes().slice(0, 2), q_TNH.options())};
  for_each_document(offsets, [&](const Call& document) {
    const Attention own = document.forward(q_TNH, k_TGH, v_TGH, scale);
    document.queries.of(result.o_TNH).copy_(own.o_TNH);
    document.queries.of(result.lse_TN).copy_(own.lse_TN);
  });
  return result;
}

AttentionGradient attention_backward(const at::Tensor& do_TNH, const at::Tensor& q_TNH, const at::Tensor& k_TGH,
                                     const at::Tensor& v_TGH, const at::Tensor& o_TNH, const at::Tensor& lse_TN,
                                     std::span<const std::int64_t> offsets, double scale) {
  const char* op = "attention_backward";
  check_query(op, q_TNH);
  check_arguments(op, q_TNH, k_TGH, v_TGH, q_TNH.size(0));
  check_offsets(op, offsets, -1, q_TNH.size(0));
  check_saved(op, do_TNH, q_TNH, o_TNH, lse_TN);
  const at::AutoDispatchBelowADInplaceOrView no_graph;
  AttentionGradient result{at::empty(q_TNH.sizes(), q_TNH.options()), at::empty(k_TGH.sizes(), k_TGH.options()),
                           at::empty(v_TGH.sizes(), v_TGH.options())};
  for_each_document(offsets, [&](const Call& document) {
    const AttentionGradient own = document.backward(do_TNH, q_TNH, k_TGH, v_TGH, o_TNH, lse_TN, scale);
    document.queries.of(result.dq_TNH).copy_(own.dq_TNH);
    document.keys.of(result.dk_TGH).copy_(own.dk_TGH);
    document.keys.of(result.dv_TGH).copy_(own.dv_TGH);
  });
  return result;
}

Attention attention_block(const at::Tensor& q_TNH, const at::Tensor& k_SGH, const at::Tensor& v_SGH, std::int64_t query_begin,
                          std::int64_t key_begin, double scale) {
  check_query("attention_block", q_TNH);
  check_arguments("attention_block", q_TNH, k_SGH, v_SGH, kAnySize);
  const at::AutoDispatchBelowADInplaceOrView no_graph;
  Attention result{at::zeros(q_TNH.sizes(), q_TNH.options()), at::empty(q_TNH.sizes().slice(0, 2), q_TNH.options())};
  result.lse_TN.fill_(-std::numeric_limits<double>::infinity());
  for_each_part(q_TNH.size(0), k_SGH.size(0), query_begin, key_begin, [&](const Call& part) {
    const Attention own = part.forward(q_TNH, k_SGH, v_SGH, scale);
    attention_merge(part.queries.of(result.o_TNH), part.queries.of(result.lse_TN), own.o_TNH.contiguous(),
                    own.lse_TN.contiguous());
  });
  return result;
}

AttentionGradient attention_block_backward(const at::Tensor& do_TNH, const at::Tensor& q_TNH, const at::Tensor& k_SGH,
                                           const at::Tensor& v_SGH, const at::Tensor& o_TNH, const at::Tensor& lse_TN,
                                           std::int64_t query_begin, std::int64_t key_begin, double scale) {
  const char* op = "attention_block_backward";
  check_query(op, q_TNH);
  check_arguments(op, q_TNH, k_SGH, v_SGH, kAnySize);
  check_saved(op, do_TNH, q_TNH, o_TNH, lse_TN);
  const at::AutoDispatchBelowADInplaceOrView no_graph;
  AttentionGradient result{at::zeros(q_TNH.sizes(), q_TNH.options()), at::zeros(k_SGH.sizes(), k_SGH.options()),
                           at::zeros(v_SGH.sizes(), v_SGH.options())};
  for_each_part(q_TNH.size(0), k_SGH.size(0), query_begin, key_begin, [&](const Call& part) {
    const AttentionGradient own = part.backward(do_TNH, q_TNH, k_SGH, v_SGH, o_TNH, lse_TN, scale);
    part.queries.of(result.dq_TNH).add_(own.dq_TNH);
    part.keys.of(result.dk_TGH).add_(own.dk_TGH);
    part.keys.of(result.dv_TGH).add_(own.dv_TGH);
  });
  return result;
}

}  // namespace ballast::kernels
