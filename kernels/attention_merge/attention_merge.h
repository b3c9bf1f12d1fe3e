#pragma once
// Attention over disjoint sets of keys, joined into attention over all of them.
#include <ATen/core/Tensor.h>

namespace ballast::kernels {

/// Merges the output over other keys into o and lse in place: with m = max(lse, part_lse) and w = exp(lse - m) + exp(part_lse -
/// m), o = (o exp(lse - m) + part_o exp(part_lse - m)) / w, lse = m + log(w). Shapes: o_TNH, part_o_TNH [T, N, H], lse_TN,
/// part_lse_TN [T, N]. Input: lse is -inf where a query has seen no key; its output is then not read (start with lse = -inf).
/// Where both are -inf, o = 0. Deterministic: also over the number of threads; a part without keys changes no bit. Throws:
/// c10::Error on wrong shapes or types.
void attention_merge(const at::Tensor& o_TNH, const at::Tensor& lse_TN, const at::Tensor& part_o_TNH,
                     const at::Tensor& part_lse_TN);

}  // namespace ballast::kernels
