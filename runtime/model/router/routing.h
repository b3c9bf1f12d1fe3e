#pragma once
// Between a router's choice and the experts: scores, weights of the chosen experts, and rows in expert order; each with its
// backward. Selection is a constant in the backward pass: gradients reach the router only through the weights.
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace ballast::model {

/// sigmoid(x W^T).
/// Shapes: x_TD, weight_ED -> scores_TE, contiguous.
at::Tensor router_scores(const at::Tensor& x_TD, const at::Tensor& weight_ED);
/// Backward of the sigmoid in router_scores.
/// Returns: gradient of the linear layer's output, [T, E].
at::Tensor router_scores_backward(const at::Tensor& dscores_TE, const at::Tensor& scores_TE);

/// How the scores of the chosen experts become weights.
struct GateOptions {
  bool use_normalized = true;   ///< divide by their sum + 1e-20 (norm_topk_prob)
  double scaling_factor = 1.0;  ///< routed_scaling_factor
};
/// Weights of the chosen experts, from their scores without bias.
/// Shapes: scores_TE, expert_TK (int64) -> weight_TK.
at::Tensor gate_weights(const at::Tensor& scores_TE, const at::Tensor& expert_TK, const GateOptions& options);
/// Backward of gate_weights.
/// Returns: dscores_TE, dense, zero where an expert was not chosen.
at::Tensor gate_weights_backward(const at::Tensor& dweight_TK, const at::Tensor& scores_TE, const at::Tensor& expert_TK,
                                 const GateOptions& options);

/// Chosen (token, expert) pairs as rows, sorted by expert, then token.
struct Routing {
  at::Tensor row_token_R;   ///< int64
  at::Tensor row_expert_R;  ///< int64
  at::Tensor row_weight_R;
  at::Tensor row_slot_R;  ///< int64, index t K + k of the pair in weight_TK
  at::Tensor count_E;     ///< int64, rows of each expert
};
/// Shapes: expert_TK (int64), weight_TK -> R = T K rows.
Routing sort_by_expert(const at::Tensor& expert_TK, const at::Tensor& weight_TK, std::int64_t num_experts);
/// Backward of the weights through sort_by_expert.
/// Shapes: drow_weight_R -> dweight_TK.
at::Tensor sort_by_expert_backward(const at::Tensor& drow_weight_R, const at::Tensor& row_slot_R, std::int64_t k);

}  // namespace ballast::model
