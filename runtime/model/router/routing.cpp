#include "runtime/model/router/routing.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/sigmoid_backward.h>
#include <ATen/ops/zeros_like.h>

#include "kernels/balance/balance.h"
#include "kernels/linear/linear.h"

namespace ballast::model {
namespace {

constexpr double kGateEps = 1e-20;

}  // namespace

at::Tensor router_scores(const at::Tensor& x_TD, const at::Tensor& weight_ED) {
  return kernels::linear(x_TD, weight_ED).sigmoid_();
}

at::Tensor router_scores_backward(const at::Tensor& dscores_TE, const at::Tensor& scores_TE) {
  return at::sigmoid_backward(dscores_TE, scores_TE);
}

at::Tensor gate_weights(const at::Tensor& scores_TE, const at::Tensor& expert_TK, const GateOptions& options) {
  at::Tensor weight_TK = scores_TE.gather(1, expert_TK);
  if (options.use_normalized) weight_TK = weight_TK / (weight_TK.sum(1, /*keepdim=*/true) + kGateEps);
  return weight_TK * options.scaling_factor;
}

at::Tensor gate_weights_backward(const at::Tensor& dweight_TK, const at::Tensor& scores_TE, const at::Tensor& expert_TK,
                                 const GateOptions& options) {
  at::Tensor dchosen_TK = dweight_TK * options.scaling_factor;
  if (options.use_normalized) {  // w = s / S: dL/ds_k = (dL/dw_k - sum_l dL/dw_l w_l) / S
    const at::Tensor chosen_TK = scores_TE.gather(1, expert_TK);
    const at::Tensor sum_T1 = chosen_TK.sum(1, /*keepdim=*/true) + kGateEps;
    dchosen_TK = (dchosen_TK - (dchosen_TK * chosen_TK / sum_T1).sum(1, /*keepdim=*/true)) / sum_T1;
  }
  return at::zeros_like(scores_TE).scatter_(1, expert_TK, dchosen_TK);
}

Routing sort_by_expert(const at::Tensor& expert_TK, const at::Tensor& weight_TK, std::int64_t num_experts) {
  TORCH_CHECK(weight_TK.sizes() == expert_TK.sizes(), "sort_by_expert: weights ", weight_TK.sizes(), " for experts ",
              expert_TK.sizes());
  const std::int64_t k = expert_TK.size(1);
  Routing routing;
  routing.count_E = kernels::expert_counts(expert_TK, num_experts);
  routing.row_slot_R = at::empty_like(expert_TK).view({-1});
  routing.row_token_R = at::empty_like(routing.row_slot_R);
  routing.row_expert_R = at::empty_like(routing.row_slot_R);

  std::vector<std::int64_t> next_E(num_experts, 0);  // counting sort: slots are visited in token order
  const std::int64_t* count = routing.count_E.const_data_ptr<std::int64_t>();
  for (std::int64_t j = 1; j < num_experts; ++j) next_E[j] = next_E[j - 1] + count[j - 1];
  const std::int64_t* expert = expert_TK.const_data_ptr<std::int64_t>();
  std::int64_t* row_slot = routing.row_slot_R.mutable_data_ptr<std::int64_t>();
  std::int64_t* row_token = routing.row_token_R.mutable_data_ptr<std::int64_t>();
  std::int64_t* row_expert = routing.row_expert_R.mutable_data_ptr<std::int64_t>();
  for (std::int64_t slot = 0; slot < expert_TK.numel(); ++slot) {
    const std::int64_t row = next_E[expert[slot]]++;
    row_slot[row] = slot;
    row_token[row] = slot / k;
    row_expert[row] = expert[slot];
  }
  routing.row_weight_R = weight_TK.reshape({-1}).index_select(0, routing.row_slot_R);
  return routing;
}

at::Tensor sort_by_expert_backward(const at::Tensor& drow_weight_R, const at::Tensor& row_slot_R, std::int64_t k) {
  at::Tensor dweight_R = at::empty_like(drow_weight_R);
  dweight_R.index_copy_(0, row_slot_R, drow_weight_R);
  return dweight_R.view({-1, k});
}

}  // namespace ballast::model
