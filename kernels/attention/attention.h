#pragma once
// Causal attention inside each document of a packed run of tokens, on LibTorch's flash kernel.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

namespace ballast::kernels {

struct Attention {
  at::Tensor o_TNH;   ///< [T, N, H]
  at::Tensor lse_TN;  ///< [T, N]: log of the sum of exp(scores) of each query, what the backward pass needs
};

/// o[t, n] = sum over s <= t of the same document of softmax(scale * q[t, n] . k[s, g]) v[s, g], g = n / (N / G).
/// Shapes: q_TNH [T, N, H], k_TGH and v_TGH [T, G, H], offsets B + 1 document borders from 0 to T.
/// Input: N a multiple of G; documents may be empty, T may be 0.
/// Cost: 2 N H flops for each pair of a query and a key it sees, twice (scores, output).
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

}  // namespace ballast::kernels
