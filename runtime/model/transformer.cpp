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

namespace {

std::size_t index(const RowBlock& block) { return static_cast<std::size_t>(block.index); }

/// The blocks' rows as they lie in the batch.
at::Tensor joined(const ByBlock<at::Tensor>& parts) { return parts.size() == 1 ? parts.front() : at::cat(parts); }

/// The reverse: views of all rows.
void split(const at::Tensor& all, const std::vector<RowBlock>& blocks, ByBlock<at::Tensor>& parts) {
  for (const RowBlock& block : blocks) parts[index(block)] = block.rows.of(all);
}

}  // namespace

Transformer::Transformer(const ModelConfig& config, const comm::Mesh& mesh, std::uint64_t seed, metrics::PhaseClock& clock)
    : config_(config),
      clock_(clock),
      has_expert_messages_(mesh.ep().size() > 1),
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
                         const std::function<void(const RowBlock&, const at::Tensor&)>& head) {
  activations.layers = std::vector<LayerActivations>(attention_.size());
  const std::vector<RowBlock>& blocks = batch.attention->blocks();
  ByBlock<at::Tensor> stream(blocks.size());  // the residual stream, [rows of the block, D]
  activations.last_TD.resize(blocks.size());
  activations.final_rstd_T.resize(blocks.size());
  activations.dfinal_TD.resize(blocks.size());
  const auto x = [&](const RowBlock& block) -> at::Tensor& { return stream[index(block)]; };
  std::vector<PipelineStage> stages;
  stages.push_back(
      RowStage{[&](const RowBlock& block) { x(block) = kernels::embedding(embedding_.value, block.rows.of(batch.token_T)); }});
  for (std::size_t layer = 0; layer < attention_.size(); ++layer) {
    const AttentionLayer& attention = attention_[layer];
    LayerActivations& saved = activations.layers[layer];
    saved.attention.blocks.resize(blocks.size());
    AttentionActivations& source = key_value_source(batch, layer, activations);
    stages.push_back(RowStage{[&](const RowBlock& block) {
      const PhaseClock::Scope phase(clock_, StepPhase::kAttention);
      attention.project(x(block), batch, block, saved.attention, source);
    }});
    stages.push_back(AttentionStage{[&] { return attention.attention(batch, saved.attention, source); }});
    stages.push_back(RowStage{[&](const RowBlock& block) {
      const PhaseClock::Scope phase(clock_, StepPhase::kAttention);
      x(block) = attention.output(block, saved.attention);
    }});
    if (auto* const moe = std::get_if<MoeLayer>(&feed_forward_[layer])) {
      MoeActivations& rows = saved.feed_forward.emplace<MoeActivations>();
      rows.blocks.resize(blocks.size());
      stages.push_back(RowStage{[&, moe](const RowBlock& block) { moe->score(x(block), block, rows); }});
      stages.push_back(JointStage{[&, moe] { split(moe->forward(batch, mode, rows), blocks, stream); }});
    } else {
      const DenseLayer& dense = std::get<DenseLayer>(feed_forward_[layer]);
      auto& rows = saved.feed_forward.emplace<ByBlock<DenseLayerActivations>>(blocks.size());
      stages.push_back(RowStage{[&](const RowBlock& block) {
        const PhaseClock::Scope phase(clock_, StepPhase::kFeedForward);
        x(block) = dense.forward(x(block), rows[index(block)]);
      }});
    }
  }
  const auto finish = [&](const RowBlock& block) {
    const PhaseClock::Scope phase(clock_, StepPhase::kHead);
    const kernels::RmsNorm norm = kernels::rms_norm(x(block), final_norm_.value, config_.rms_norm_eps);
    activations.last_TD[index(block)] = x(block);
    activations.final_rstd_T[index(block)] = norm.rstd;
    head(block, norm.y);
  };
  stages.push_back(RowStage{.run = finish, .is_ready_first = true});
  LayerPipeline(blocks, clock_).run(stages);
}

double Transformer::forward(const PackedBatch& batch, double loss_scale, Activations& activations) {
  const c10::InferenceMode no_autograd;
  double sum = 0;
  decode(batch, RouterMode::kTrain, activations, [&](const RowBlock& block, const at::Tensor& final_TD) {
    const kernels::LinearCrossEntropyGradient loss = kernels::linear_cross_entropy_with_gradient(
        final_TD, head_.value, block.rows.of(batch.target_T), loss_scale, head_.gradient);
    activations.dfinal_TD[index(block)] = loss.dx_TD;
    sum += loss.loss_T.sum(at::kDouble).item<double>();
  });
  return sum;
}

void Transformer::backward(const PackedBatch& batch, Activations& activations) {
  const c10::InferenceMode no_autograd;
  const std::vector<RowBlock>& blocks = batch.attention->blocks();
  ByBlock<at::Tensor> stream(blocks.size());  // gradient of the residual stream
  const auto dx = [&](const RowBlock& block) -> at::Tensor& { return stream[index(block)]; };
  const bool waits_for_others = batch.attention->has_messages() || has_expert_messages_;
  WaitingWeightGradients waiting(waits_for_others ? scheduler::kMostDeferredLayers : 0);
  const auto do_other_work = [&] { return waiting.run_one(); };
  // Of the linear work between two attentions, in the order of blocks, whichever came first.
  ByBlock<WeightGradients> between(blocks.size(), WeightGradients(clock_));
  const auto gradients = [&](const RowBlock& block) -> WeightGradients& { return between[index(block)]; };
  const auto let_them_wait = [&] {
    WeightGradients all(clock_);
    for (WeightGradients& one : between) all.append(std::exchange(one, WeightGradients(clock_)));
    waiting.add_layer(std::move(all));
  };

  std::vector<PipelineStage> stages;
  stages.push_back(RowStage{[&](const RowBlock& block) {
    const std::size_t i = index(block);
    const kernels::RmsNormGradient norm = kernels::rms_norm_backward(activations.dfinal_TD[i], activations.last_TD[i],
                                                                     final_norm_.value, activations.final_rstd_T[i]);
    gradients(block).add_part(norm.dweight_D, final_norm_);
    dx(block) = norm.dx;
  }});
  for (std::size_t layer = attention_.size(); layer-- > 0;) {
    const AttentionLayer& attention = attention_[layer];
    LayerActivations& saved = activations.layers[layer];
    AttentionActivations& source = key_value_source(batch, layer, activations);
    if (const auto* const moe = std::get_if<MoeLayer>(&feed_forward_[layer])) {
      stages.push_back(JointStage{[&, moe] {
        const MoeActivations& rows = std::get<MoeActivations>(saved.feed_forward);
        split(moe->backward(joined(stream), rows, between.front(), waiting), blocks, stream);
      }});
    } else {
      const DenseLayer& dense = std::get<DenseLayer>(feed_forward_[layer]);
      stages.push_back(RowStage{[&](const RowBlock& block) {
        const PhaseClock::Scope phase(clock_, StepPhase::kFeedForward);
        const auto& rows = std::get<ByBlock<DenseLayerActivations>>(saved.feed_forward);
        dx(block) = dense.backward(dx(block), rows[index(block)], gradients(block));
      }});
    }
    const auto output_backward = [&](const RowBlock& block) {
      const PhaseClock::Scope phase(clock_, StepPhase::kAttention);
      attention.output_backward(dx(block), batch, block, saved.attention, gradients(block));
    };
    stages.push_back(RowStage{output_backward, let_them_wait});
    stages.push_back(AttentionStage{[&] { return attention.attention_backward(batch, saved.attention, source); }});
    const auto project_backward = [&](const RowBlock& block) {
      const PhaseClock::Scope phase(clock_, StepPhase::kAttention);
      dx(block) = attention.project_backward(dx(block), batch, block, saved.attention, gradients(block));
    };
    stages.push_back(RowStage{project_backward, [&] { saved.attention.attention.dq_TNH.reset(); }});
  }
  LayerPipeline(blocks, clock_, do_other_work).run(stages);
  let_them_wait();
  waiting.run_all();
  kernels::accumulate_embedding_gradient(joined(stream), batch.token_T, embedding_.gradient);
}

at::Tensor Transformer::evaluate(const PackedBatch& batch) {
  const c10::InferenceMode no_autograd;
  Activations activations;
  ByBlock<at::Tensor> loss(batch.attention->blocks().size());
  decode(batch, RouterMode::kEvaluate, activations, [&](const RowBlock& block, const at::Tensor& final_TD) {
    loss[index(block)] = kernels::linear_cross_entropy(final_TD, head_.value, block.rows.of(batch.target_T));
  });
  return joined(loss);
}

at::Tensor Transformer::next_token_logits(const PackedBatch& batch) {
  const c10::InferenceMode no_autograd;
  Activations activations;
  ByBlock<at::Tensor> final(batch.attention->blocks().size());
  decode(batch, RouterMode::kEvaluate, activations,
         [&](const RowBlock& block, const at::Tensor& final_TD) { final[index(block)] = final_TD; });
  if (batch.num_tokens() == 0) return {};
  return at::mv(head_.value, joined(final).select(0, batch.num_tokens() - 1));
}

}  // namespace ballast::model
