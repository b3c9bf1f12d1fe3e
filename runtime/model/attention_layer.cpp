#include "runtime/model/attention_layer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/addmm.h>

#include <cmath>

#include "kernels/linear/linear.h"
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/rotary/rotary.h"

namespace ballast::model {

AttentionLayer::AttentionLayer(const ModelConfig& config, const Parameters& parameters, std::int64_t layer,
                               const AttentionChannels& channels)
    : config_(config), channels_(channels), scale_(1.0 / std::sqrt(static_cast<double>(config.head_dim))) {
  const auto weight = [&](std::string_view part) { return parameters.weight(layer_parameter_name(layer, part)); };
  norm_ = weight("attention.norm.weight");
  output_ = weight("attention.output.weight");
  query_.weight = weight("attention.query.weight");
  key_.weight = weight("attention.key.weight");
  value_.weight = weight("attention.value.weight");
  if (config.attention_bias) {
    query_.bias = weight("attention.query.bias");
    key_.bias = weight("attention.key.bias");
    value_.bias = weight("attention.value.bias");
  }
  if (config.use_qk_norm) {
    query_.norm = weight("attention.query_norm.weight");
    key_.norm = weight("attention.key_norm.weight");
  }
}

at::Tensor AttentionLayer::project(const Projection& projection, const at::Tensor& normed_TD, std::int64_t num_heads) const {
  at::Tensor projected = kernels::linear(normed_TD, projection.weight.value);
  if (projection.bias.value.defined()) projected.add_(projection.bias.value);
  return projected.view({normed_TD.size(0), num_heads, config_.head_dim});
}

at::Tensor AttentionLayer::project_backward(const Projection& projection, const at::Tensor& dy, const at::Tensor& normed_TD,
                                            WeightGradients& gradients) const {
  const at::Tensor dy_flat = dy.reshape({dy.size(0), dy.size(1) * dy.size(2)});
  if (projection.bias.value.defined()) gradients.add_bias(dy_flat, projection.bias);
  gradients.add_linear(dy_flat, normed_TD, projection.weight);
  return kernels::linear_backward_input(dy_flat, projection.weight.value);
}

void AttentionLayer::project(const at::Tensor& x_TD, const PackedBatch& batch, const RowBlock& block,
                             AttentionActivations& activations, const AttentionActivations& source) const {
  AttentionRows& a = activations.blocks[static_cast<std::size_t>(block.index)];
  const kernels::RmsNorm norm = kernels::rms_norm(x_TD, norm_.value, config_.rms_norm_eps);
  a.x_TD = x_TD;
  a.normed_TD = norm.y;
  a.rstd_T = norm.rstd;

  const Rows rows = block.rows;
  const auto put = [&](at::Tensor& all, const at::Tensor& values) { assign_rows(all, rows, batch.num_tokens(), values); };
  const auto positioned = [&](const Projection& projection, std::int64_t num_heads, at::Tensor& raw, at::Tensor& rstd) {
    raw = project(projection, a.normed_TD, num_heads);
    at::Tensor heads = raw;
    if (projection.norm.value.defined()) {
      const kernels::RmsNorm head_norm = kernels::rms_norm(raw, projection.norm.value, config_.rms_norm_eps);
      heads = head_norm.y;
      rstd = head_norm.rstd;
    }
    return kernels::rotary(heads, rows.of(batch.position_T), config_.rope_theta);
  };
  HomeAttention& attention = activations.attention;
  put(attention.q_TNH, positioned(query_, config_.num_attention_heads, a.query_TNH, a.query_rstd));
  if (&source == &activations) {
    put(attention.k_TGH, positioned(key_, config_.num_key_value_heads, a.key_TGH, a.key_rstd));
    put(attention.v_TGH, project(value_, a.normed_TD, config_.num_key_value_heads));
  }
}

std::unique_ptr<AttentionPass> AttentionLayer::attention(const PackedBatch& batch, AttentionActivations& activations,
                                                         AttentionActivations& source) const {
  return attention_forward(*batch.attention, channels_, scale_, activations.attention, source.attention);
}

at::Tensor AttentionLayer::output(const RowBlock& block, const AttentionActivations& activations) const {
  const at::Tensor& x_TD = activations.blocks[static_cast<std::size_t>(block.index)].x_TD;
  const at::Tensor o_TNH = block.rows.of(activations.attention.o_TNH);
  return at::addmm(x_TD, o_TNH.view({x_TD.size(0), output_.value.size(1)}), output_.value.t());
}

void AttentionLayer::output_backward(const at::Tensor& dy_TD, const PackedBatch& batch, const RowBlock& block,
                                     AttentionActivations& activations, WeightGradients& gradients) const {
  HomeAttention& attention = activations.attention;
  const Rows rows = block.rows;
  const at::Tensor o_TNH = rows.of(attention.o_TNH);
  gradients.add_linear(dy_TD, o_TNH.view({dy_TD.size(0), output_.value.size(1)}), output_);
  assign_rows(attention.do_TNH, rows, batch.num_tokens(),
              kernels::linear_backward_input(dy_TD, output_.value).view(o_TNH.sizes()));
}

std::unique_ptr<AttentionPass> AttentionLayer::attention_backward(const PackedBatch& batch, AttentionActivations& activations,
                                                                  AttentionActivations& source) const {
  return model::attention_backward(*batch.attention, channels_, scale_, activations.attention, source.attention);
}

at::Tensor AttentionLayer::project_backward(const at::Tensor& dy_TD, const PackedBatch& batch, const RowBlock& block,
                                            const AttentionActivations& activations, WeightGradients& gradients) const {
  const AttentionRows& a = activations.blocks[static_cast<std::size_t>(block.index)];
  const HomeAttention& attention = activations.attention;
  const Rows rows = block.rows;
  const auto positioned_backward = [&](const Projection& projection, const at::Tensor& dheads, const at::Tensor& raw,
                                       const at::Tensor& rstd) {
    at::Tensor dprojected = kernels::rotary_backward(rows.of(dheads), rows.of(batch.position_T), config_.rope_theta);
    if (projection.norm.value.defined()) {
      const kernels::RmsNormGradient head_norm = kernels::rms_norm_backward(dprojected, raw, projection.norm.value, rstd);
      gradients.add_part(head_norm.dweight_D, projection.norm);
      dprojected = head_norm.dx;
    }
    return project_backward(projection, dprojected, a.normed_TD, gradients);
  };
  at::Tensor dnormed = positioned_backward(query_, attention.dq_TNH, a.query_TNH, a.query_rstd);
  if (attention.k_TGH
          .defined()) {  // this layer made keys and values: all readers (itself and later layers) have added their gradients
    dnormed.add_(positioned_backward(key_, attention.dk_TGH, a.key_TGH, a.key_rstd));
    dnormed.add_(project_backward(value_, rows.of(attention.dv_TGH), a.normed_TD, gradients));
  }
  const kernels::RmsNormGradient norm = kernels::rms_norm_backward(dnormed, a.x_TD, norm_.value, a.rstd_T);
  gradients.add_part(norm.dweight_D, norm_);
  return norm.dx.add_(dy_TD);
}

}  // namespace ballast::model
