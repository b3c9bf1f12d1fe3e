#include "runtime/model/moe_layer.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>

#include "kernels/expert_rows/expert_rows.h"
#include "kernels/grouped_linear/grouped_linear.h"
#include "kernels/linear/linear.h"
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/swiglu/swiglu.h"
#include "runtime/comm/exchange.h"
#include "runtime/model/tensor_buffer.h"

namespace ballast::model {
namespace {

using metrics::PhaseClock;
using metrics::StepPhase;

/// Row numbers as a tensor that reads the vector's memory.
at::Tensor index_of(const std::vector<std::int64_t>& rows) {
  return at::from_blob(const_cast<std::int64_t*>(rows.data()), {static_cast<std::int64_t>(rows.size())}, at::kLong);
}

bool no_other_work() { return false; }

at::Tensor reordered(const at::Tensor& rows, const at::Tensor& order) {
  return order.defined() ? kernels::gather_rows(rows, order) : rows;
}

}  // namespace

MoeLayer::MoeLayer(const ModelConfig& config, const Parameters& parameters, std::int64_t layer, const comm::Mesh& mesh,
                   PhaseClock& clock)
    : num_experts_(config.num_experts),
      rms_norm_eps_(config.rms_norm_eps),
      gate_{config.norm_topk_prob, config.routed_scaling_factor},
      mesh_(mesh),
      clock_(clock),
      norm_(parameters.weight(layer_parameter_name(layer, "feed_forward.norm.weight"))),
      router_weight_(parameters.weight(layer_parameter_name(layer, "router.weight"))),
      experts_gate_up_(parameters.weight(layer_parameter_name(layer, "experts.gate_up.weight"))),
      experts_down_(parameters.weight(layer_parameter_name(layer, "experts.down.weight"))),
      shared_{parameters.weight(layer_parameter_name(layer, "shared_experts.gate_up.weight")),
              parameters.weight(layer_parameter_name(layer, "shared_experts.down.weight"))},
      router_(make_router({.name = config.router.name,
                           .layer = layer,
                           .num_experts = config.num_experts,
                           .experts_per_token = config.experts_per_token,
                           .iterations = config.router.iterations,
                           .ema_decay = config.router.ema_decay,
                           .dtype = config.dtype})) {}

at::Tensor MoeLayer::gather_scores(const at::Tensor& scores_TE, const PackedBatch& batch) const {
  const PhaseClock::Scope phase(clock_, StepPhase::kCommunication);
  const std::int64_t num_experts = scores_TE.size(1);
  std::vector<std::int64_t> counts;
  for (const std::vector<std::int64_t>& rows : batch.global_row)
    counts.push_back(static_cast<std::int64_t>(rows.size()) * num_experts);
  at::Tensor by_rank_NE = at::empty({batch.num_global_tokens, num_experts}, scores_TE.options());
  const at::Tensor own = reordered(scores_TE, batch.home_row_T);
  mesh_.dp().all_gather(buffer(own), buffer(by_rank_NE), counts).wait();

  at::Tensor by_position_NE = at::empty_like(by_rank_NE);
  std::int64_t first = 0;
  for (const std::vector<std::int64_t>& rows : batch.global_row) {
    const std::int64_t num_rows = static_cast<std::int64_t>(rows.size());
    by_position_NE.index_copy_(0, index_of(rows), by_rank_NE.narrow(0, first, num_rows));
    first += num_rows;
  }
  return by_position_NE;
}

at::Tensor MoeLayer::experts_forward(MoeActivations& a) const {
  a.gate_up_S2F = kernels::grouped_linear(a.expert_input_SD, experts_gate_up_.value, a.exchange.expert_offsets);
  a.hidden_SF = kernels::swiglu(a.gate_up_S2F);
  return kernels::grouped_linear(a.hidden_SF, experts_down_.value, a.exchange.expert_offsets);
}

at::Tensor MoeLayer::experts_backward(const at::Tensor& dy_SD, const MoeActivations& a, WeightGradients& gradients) const {
  gradients.add_grouped_linear(dy_SD, a.hidden_SF, experts_down_, a.exchange.expert_offsets);
  const at::Tensor dhidden_SF = kernels::grouped_linear_backward_input(dy_SD, experts_down_.value, a.exchange.expert_offsets);
  const at::Tensor dgate_up_S2F = kernels::swiglu_backward(dhidden_SF, a.gate_up_S2F);
  gradients.add_grouped_linear(dgate_up_S2F, a.expert_input_SD, experts_gate_up_, a.exchange.expert_offsets);
  return kernels::grouped_linear_backward_input(dgate_up_S2F, experts_gate_up_.value, a.exchange.expert_offsets);
}

void MoeLayer::score(const at::Tensor& x_TD, const RowBlock& block, MoeActivations& activations) const {
  const PhaseClock::Scope phase(clock_, StepPhase::kExperts);
  const kernels::RmsNorm norm = kernels::rms_norm(x_TD, norm_.value, rms_norm_eps_);
  activations.blocks[static_cast<std::size_t>(block.index)] = {x_TD, norm.rstd, norm.y,
                                                               router_scores(norm.y, router_weight_.value)};
}

at::Tensor MoeLayer::forward(const PackedBatch& batch, RouterMode mode, MoeActivations& activations) {
  const PhaseClock::Scope phase(clock_, StepPhase::kExperts);
  MoeActivations& a = activations;
  const auto joined = [&](at::Tensor ScoredRows::*part) {
    std::vector<at::Tensor> parts;  // as the rows lie
    for (const ScoredRows& block : a.blocks) parts.push_back(block.*part);
    return parts.size() == 1 ? parts.front() : at::cat(parts);
  };
  a.x_TD = joined(&ScoredRows::x_TD);
  a.rstd_T = joined(&ScoredRows::rstd_T);
  a.normed_TD = joined(&ScoredRows::normed_TD);
  a.scores_TE = joined(&ScoredRows::scores_TE);
  a.blocks.clear();

  const Assignment assignment = router_->assign(gather_scores(a.scores_TE, batch), mode);
  a.count_E = assignment.count_E;
  const int rank = mesh_.dp().rank();
  a.expert_TK = assignment.expert_TK.index_select(0, index_of(batch.own_global_row));
  a.routing = sort_by_expert(a.expert_TK, gate_weights(a.scores_TE, a.expert_TK, gate_), num_experts_);
  const std::span<const std::vector<std::int64_t>> ep_rows(batch.global_row.begin() + (rank - mesh_.ep().rank()),
                                                           static_cast<std::size_t>(mesh_.ep().size()));
  a.exchange = expert_exchange(assignment.expert_TK, ep_rows, mesh_.ep().rank(), num_experts_);

  RowsInFlight dispatch(mesh_.ep(), a.exchange.dispatch, kernels::gather_rows(a.normed_TD, a.routing.row_token_R));
  at::Tensor y_TD = shared_.forward(a.normed_TD, a.shared);  // while the rows travel
  a.expert_input_SD = reordered(wait(dispatch, no_other_work), a.exchange.by_expert_S);
  RowsInFlight combine(mesh_.ep(), comm::reversed(a.exchange.dispatch), reordered(experts_forward(a), a.exchange.by_source_S));
  y_TD.add_(a.x_TD);
  a.expert_output_RD = wait(combine, no_other_work);
  return y_TD.add_(kernels::combine_rows(a.expert_output_RD, a.routing.row_token_R, a.routing.row_weight_R, a.x_TD.size(0)));
}

at::Tensor MoeLayer::backward(const at::Tensor& dy_TD, const MoeActivations& a, WeightGradients& gradients,
                              WaitingWeightGradients& waiting) const {
  const auto do_other_work = [&waiting] { return waiting.run_one(); };
  const PhaseClock::Scope phase(clock_, StepPhase::kExperts);
  const kernels::CombineRowsGradient combined =
      kernels::combine_rows_backward(dy_TD, a.expert_output_RD, a.routing.row_token_R, a.routing.row_weight_R);
  RowsInFlight dispatch(mesh_.ep(), a.exchange.dispatch, combined.dy_RD);
  at::Tensor dnormed_TD = shared_.backward(dy_TD, a.normed_TD, a.shared, gradients);
  const at::Tensor dexpert_SD = experts_backward(reordered(wait(dispatch, do_other_work), a.exchange.by_expert_S), a, gradients);
  RowsInFlight combine(mesh_.ep(), comm::reversed(a.exchange.dispatch), reordered(dexpert_SD, a.exchange.by_source_S));

  const at::Tensor dweight_TK = sort_by_expert_backward(combined.drow_weight_R, a.routing.row_slot_R, a.expert_TK.size(1));
  const at::Tensor dscores_TE = gate_weights_backward(dweight_TK, a.scores_TE, a.expert_TK, gate_);
  const at::Tensor dlogits_TE = router_scores_backward(dscores_TE, a.scores_TE);
  gradients.add_linear(dlogits_TE, a.normed_TD, router_weight_);
  dnormed_TD.add_(kernels::linear_backward_input(dlogits_TE, router_weight_.value));
  dnormed_TD.add_(kernels::gather_rows_backward(wait(combine, do_other_work), a.routing.row_token_R, dy_TD.size(0)));
  const kernels::RmsNormGradient norm = kernels::rms_norm_backward(dnormed_TD, a.x_TD, norm_.value, a.rstd_T);
  gradients.add_part(norm.dweight_D, norm_);
  return norm.dx.add_(dy_TD);
}

at::Tensor MoeLayer::wait(RowsInFlight& rows, const std::function<bool()>& do_other_work) const {
  while (!rows.poll() && do_other_work()) {
  }
  const PhaseClock::Scope phase(clock_, StepPhase::kCommunication);
  return rows.wait();
}

}  // namespace ballast::model
