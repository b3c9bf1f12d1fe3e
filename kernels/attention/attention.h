#pragma once
// Causal attention inside each document of a packed run of tokens, and of one block of a document's queries over a block of its
// keys, on LibTorch's flash kernel.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

namespace ballast::kernels {

struct Attention {
  at::Tensor o_TNH;   ///< [T, N, H]
  at::Tensor lse_TN;  ///< [T, N]: log of the sum of exp(scores) of each query, what merging and the backward pass need
};

/// o[t, n] = sum over s <= t of the same document of softmax(scale * q[t, n] . k[s, g]) v[s, g], g = n / (N / G).
/// Shapes: q_TNH [T, N, H], k_TGH and v_TGH [T, G, H], offsets B + 1 document borders from 0 to T.
/// Input: N a multiple of G; documents may be empty, T may be 0.
/// Cost: 2 N H flops for each pair of a query and a key it sees, twice (scores, output).
/// Deterministic: also over the number of threads.
/// Throws: c10::Error on wrong shapes, types or offsets.
/// Source: Dao 2023, arXiv:2307.08691.
Attention attention(const at::Tensor& q_TNH, const at::Tensor& k_TGH, const at::Tensor& v_TGH,
                    std::span<const std::int64_t> offsets, double scale);

struct AttentionGradient {
  at::Tensor dq_TNH, dk_TGH, dv_TGH;
};

/// Gradients of attention from its output and lse; scores are recomputed.
/// Shapes: do_TNH, q_TNH, o_TNH [T, N, H], k_TGH, v_TGH [T, G, H], lse_TN [T, N].
/// Cost: 2.5 times the forward pass.
AttentionGradient attention_backward(const at::Tensor& do_TNH, const at::Tensor& q_TNH, const at::Tensor& k_TGH,
                                     const at::Tensor& v_TGH, const at::Tensor& o_TNH, const at::Tensor& lse_TN,
                                     std::span<const std::int64_t> offsets, double scale);

/// Attention of a run of one document's queries over a run of its keys: query i stands at position query_begin + i, key j at
/// key_begin + j, and a query sees the keys at its own position and before. Blocks over all keys, merged by attention_merge, are
/// the document's attention.
/// Shapes: q_TNH [T, N, H], k_SGH and v_SGH [S, G, H]; o_TNH [T, N, H], lse_TN [T, N].
/// Input: any lengths, zero included, and any two positions; a query that sees no key gets o = 0 and lse = -inf.
/// Cost: 4 N H flops for each visible pair; pairs that the mask hides are skipped in whole tiles.
/// Throws: c10::Error on wrong shapes or types.
Attention attention_block(const at::Tensor& q_TNH, const at::Tensor& k_SGH, const at::Tensor& v_SGH, std::int64_t query_begin,
                          std::int64_t key_begin, double scale);

/// A block's part of the gradients, from the output and lse *merged over all keys*; the parts of all blocks add up to the
/// gradients of the document. Shapes: as attention_block; do_TNH, o_TNH [T, N, H], lse_TN [T, N]; dq_TNH [T, N, H], dk_TGH and
/// dv_TGH [S, G, H]. Input: a query of lse = -inf has seen no key and gets no gradient.
AttentionGradient attention_block_backward(const at::Tensor& do_TNH, const at::Tensor& q_TNH, const at::Tensor& k_SGH,
                                           const at::Tensor& v_SGH, const at::Tensor& o_TNH, const at::Tensor& lse_TN,
                                           std::int64_t query_begin, std::int64_t key_begin, double scale);

}  // namespace ballast::kernels
