#include "runtime/model/transformer.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/mv.h>
#include <c10/core/InferenceMode.h>

#include <utility>

#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/embedding/embedding.h"
#include "kernels/rms_norm/rms_norm.h"
#include "scheduler/sim/simulator.h"

namespace ballast::model {

using metrics::PhaseClock;
using metrics::StepPhase;
using scheduler::TokenGroup;

namespace {

std::size_t index(TokenGroup group) { return static_cast<std::size_t>(group); }

/// The groups' rows as they lie in the batch.
at::Tensor joined(const ByGroup<at::Tensor>& parts, std::span<const TokenGroup> groups) {
  if (groups.size() == 1) return parts[index(groups.front())];
  return at::cat(parts);
}

/// The reverse: views of all rows.
void split(const at::Tensor& all, const PackedBatch& batch, ByGroup<at::Tensor>& parts) {
  for (const TokenGroup group : batch.attention->groups()) parts[index(group)] = batch.rows_of(all, group);
}

}  // namespace

Transformer::Transformer(const ModelConfig& config, const comm::Mesh& mesh, std::uint64_t seed, metrics::PhaseClock& clock)
    : config_(config),
      clock_(clock),
      is_alone_(mesh.dp().size() == 1),
      parameters_(config_, {mesh.ep().rank(), mesh.ep().size()}, seed),
      embedding_(parameters_.weight("embedding.weight")),
      final_norm_(parameters_.weight("final_norm.weight")),
      head_(config.tie_word_embeddings ? embedding_ : parameters_.weight("head.weight")) {
  for (std::int64_t layer = 0; layer < config_.num_layers; ++layer) {
    attention_.emplace_back(config_, parameters_, layer, AttentionChannels{mesh.dp(), mesh.near()});
    if (config_.is_moe_layer(layer)) {
      feed_forward_.emplace_back(std::in_place_type<MoeLayer>, config_, parameters_, layer, mesh, clock_);
    } else {
      feed_forward_.emplace_back(std::in_place_type<DenseLayer>, config_, parameters_, layer);
    }
  }
}

std::vector<Router*> Transformer::routers() {
  std::vector<Router*> all;
  for (FeedForwardLayer& layer : feed_forward_) {
    MoeLayer* const moe = std::get_if<MoeLayer>(&layer);
    all.push_back(moe ? &moe->router() : nullptr);
  }
  return all;
}

AttentionActivations& Transformer::key_value_source(const PackedBatch& batch, std::size_t layer, Activations& activations) const {
  const int source = batch.kv_source_layer.at(layer);
  TORCH_CHECK(source >= 0 && static_cast<std::size_t>(source) <= layer &&
                  batch.kv_source_layer[static_cast<std::size_t>(source)] == source,
              "layer ", layer, " cannot read the keys of layer ", source, ": a source comes earlier and makes its own");
  return activations.layers[static_cast<std::size_t>(source)].attention;
}

void Transformer::decode(const PackedBatch& batch, RouterMode mode, Activations& activations,
                         const std::function<void(TokenGroup, const at::Tensor&)>& head) {
  activations.layers = std::vector<LayerActivations>(attention_.size());
  ByGroup<at::Tensor> stream;  // the residual stream, [rows of the group, D]
  const auto x = [&](TokenGroup group) -> at::Tensor& { return stream[index(group)]; };
  std::vector<PipelineStage> stages;
  stages.push_back(
      RowStage{[&](TokenGroup group) { x(group) = kernels::embedding(embedding_.value, batch.rows_of(batch.token_T, group)); }});
  for (std::size_t layer = 0; layer < attention_.size(); ++layer) {
    const AttentionLayer& attention = attention_[layer];
    LayerActivations& saved = activations.layers[layer];
    AttentionActivations& source = key_value_source(batch, layer, activations);
    stages.push_back(RowStage{[&](TokenGroup group) {
      const PhaseClock::Scope phase(clock_, StepPhase::kAttention);
      attention.project(x(group), batch, group, saved.attention, source);
    }});
    stages.push_back(AttentionStage{[&] { return attention.attention(batch, saved.attention, source); }});
    stages.push_back(RowStage{[&](TokenGroup group) {
      const PhaseClock::Scope phase(clock_, StepPhase::kAttention);
      x(group) = attention.output(batch, group, saved.attention);
    }});
    if (auto* const moe = std::get_if<MoeLayer>(&feed_forward_[layer])) {
      MoeActivations& rows = saved.feed_forward.emplace<MoeActivations>();
      stages.push_back(RowStage{[&, moe](TokenGroup group) { moe->score(x(group), group, rows); }});
      stages.push_back(JointStage{[&, moe] { split(moe->forward(batch, mode, rows), batch, stream); }});
    } else {
      const DenseLayer& dense = std::get<DenseLayer>(feed_forward_[layer]);
      auto& rows = saved.feed_forward.emplace<ByGroup<DenseLayerActivations>>();
      stages.push_back(RowStage{[&](TokenGroup group) {
        const PhaseClock::Scope phase(clock_, StepPhase::kFeedForward);
        x(group) = dense.forward(x(group), rows[index(group)]);
      }});
    }
  }
  const auto finish = [&](TokenGroup group) {
    const PhaseClock::Scope phase(clock_, StepPhase::kHead);
    const kernels::RmsNorm norm = kernels::rms_norm(x(group), final_norm_.value, config_.rms_norm_eps);
    activations.last_TD[index(group)] = x(group);
    activations.final_rstd_T[index(group)] = norm.rstd;
    head(group, norm.y);
  };
  stages.push_back(RowStage{.run = finish, .is_ready_first = true});
  LayerPipeline(batch.attention->groups(), clock_).run(stages);
}

double Transformer::forward(const PackedBatch& batch, double loss_scale, Activations& activations) {
  const c10::InferenceMode no_autograd;
  double sum = 0;
  decode(batch, RouterMode::kTrain, activations, [&](TokenGroup group, const at::Tensor& final_TD) {
    const kernels::LinearCrossEntropyGradient loss = kernels::linear_cross_entropy_with_gradient(
        final_TD, head_.value, batch.rows_of(batch.target_T, group), loss_scale, head_.gradient);
    activations.dfinal_TD[index(group)] = loss.dx_TD;
    sum += loss.loss_T.sum(at::kDouble).item<double>();
  });
  return sum;
}

void Transformer::backward(const PackedBatch& batch, Activations& activations) {
  const c10::InferenceMode no_autograd;
  const std::span<const TokenGroup> groups = batch.attention->groups();
  ByGroup<at::Tensor> stream;  // gradient of the residual stream
  const auto dx = [&](TokenGroup group) -> at::Tensor& { return stream[index(group)]; };
  WaitingWeightGradients waiting(is_alone_ ? 0 : scheduler::kMostDeferredLayers);
  const auto do_other_work = [&] { return waiting.run_one(); };
  // Of the linear work between two attentions, late rows before ready ones, whichever came first.
  ByGroup<WeightGradients> between{WeightGradients(clock_), WeightGradients(clock_)};
  const auto gradients = [&](TokenGroup group) -> WeightGradients& { return between[index(group)]; };
  const auto let_them_wait = [&] {
    WeightGradients all(clock_);
    for (WeightGradients& one : between) all.append(std::exchange(one, WeightGradients(clock_)));
    waiting.add_layer(std::move(all));
  };

  std::vector<PipelineStage> stages;
  stages.push_back(RowStage{[&](TokenGroup group) {
    const std::size_t i = index(group);
    const kernels::RmsNormGradient norm = kernels::rms_norm_backward(activations.dfinal_TD[i], activations.last_TD[i],
                                                                     final_norm_.value, activations.final_rstd_T[i]);
    gradients(group).add_part(norm.dweight_D, final_norm_);
    dx(group) = norm.dx;
  }});
  for (std::size_t layer = attention_.size(); layer-- > 0;) {
    const AttentionLayer& attention = attention_[layer];
    LayerActivations& saved = activations.layers[layer];
    AttentionActivations& source = key_value_source(batch, layer, activations);
    if (const auto* const moe = std::get_if<MoeLayer>(&feed_forward_[layer])) {
      stages.push_back(JointStage{[&, moe] {
        const MoeActivations& rows = std::get<MoeActivations>(saved.feed_forward);
        split(moe->backward(joined(stream, groups), rows, gradients(groups.front()), waiting), batch, stream);
      }});
    } else {
      const DenseLayer& dense = std::get<DenseLayer>(feed_forward_[layer]);
      stages.push_back(RowStage{[&](TokenGroup group) {
        const PhaseClock::Scope phase(clock_, StepPhase::kFeedForward);
        const auto& rows = std::get<ByGroup<DenseLayerActivations>>(saved.feed_forward);
        dx(group) = dense.backward(dx(group), rows[index(group)], gradients(group));
      }});
    }
    const auto output_backward = [&](TokenGroup group) {
      const PhaseClock::Scope phase(clock_, StepPhase::kAttention);
      attention.output_backward(dx(group), batch, group, saved.attention, gradients(group));
    };
    stages.push_back(RowStage{output_backward, let_them_wait});
    stages.push_back(AttentionStage{[&] { return attention.attention_backward(batch, saved.attention, source); }});
    const auto project_backward = [&](TokenGroup group) {
      const PhaseClock::Scope phase(clock_, StepPhase::kAttention);
      dx(group) = attention.project_backward(dx(group), batch, group, saved.attention, gradients(group));
    };
    stages.push_back(RowStage{project_backward, [&] { saved.attention.attention.dq_TNH.reset(); }});
  }
  LayerPipeline(groups, clock_, do_other_work).run(stages);
  let_them_wait();
  waiting.run_all();
  kernels::accumulate_embedding_gradient(joined(stream, groups), batch.token_T, embedding_.gradient);
}

at::Tensor Transformer::evaluate(const PackedBatch& batch) {
  const c10::InferenceMode no_autograd;
  Activations activations;
  ByGroup<at::Tensor> loss;
  decode(batch, RouterMode::kEvaluate, activations, [&](TokenGroup group, const at::Tensor& final_TD) {
    loss[index(group)] = kernels::linear_cross_entropy(final_TD, head_.value, batch.rows_of(batch.target_T, group));
  });
  return joined(loss, batch.attention->groups());
}

at::Tensor Transformer::next_token_logits(const PackedBatch& batch) {
  const c10::InferenceMode no_autograd;
  Activations activations;
  ByGroup<at::Tensor> final;
  decode(batch, RouterMode::kEvaluate, activations,
         [&](TokenGroup group, const at::Tensor& final_TD) { final[index(group)] = final_TD; });
  if (batch.num_tokens() == 0) return {};
  return at::mv(head_.value, joined(final, batch.attention->groups()).select(0, batch.num_tokens() - 1));
}

}  // namespace ballast::model
