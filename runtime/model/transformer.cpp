#include "runtime/model/transformer.h"

#include <ATen/ops/mv.h>
#include <c10/core/InferenceMode.h>

#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/embedding/embedding.h"
#include "kernels/rms_norm/rms_norm.h"

namespace ballast::model {

using metrics::PhaseClock;
using metrics::StepPhase;

namespace {

/// Layers whose weight gradients wait for a moment without other work: the simulator's number.
constexpr int kMostWaitingLayers = 2;

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
    attention_.emplace_back(config_, parameters_, layer, mesh.dp(), clock_);
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

at::Tensor Transformer::decode(const PackedBatch& batch, RouterMode mode, Activations& activations) {
  activations.layers = std::vector<LayerActivations>(attention_.size());
  at::Tensor x_TD = kernels::embedding(embedding_.value, batch.token_T);
  for (std::size_t layer = 0; layer < attention_.size(); ++layer) {
    LayerActivations& saved = activations.layers[layer];
    {
      const PhaseClock::Scope phase(clock_, StepPhase::kAttention);
      x_TD = attention_[layer].forward(x_TD, batch, saved.attention, key_value_source(batch, layer, activations));
    }
    if (auto* const moe = std::get_if<MoeLayer>(&feed_forward_[layer])) {
      x_TD = moe->forward(x_TD, batch, mode, saved.feed_forward.emplace<MoeActivations>());
    } else {
      const PhaseClock::Scope phase(clock_, StepPhase::kFeedForward);
      x_TD = std::get<DenseLayer>(feed_forward_[layer]).forward(x_TD, saved.feed_forward.emplace<DenseLayerActivations>());
    }
  }
  const kernels::RmsNorm norm = kernels::rms_norm(x_TD, final_norm_.value, config_.rms_norm_eps);
  activations.last_TD = x_TD;
  activations.final_rstd_T = norm.rstd;
  activations.final_TD = norm.y;
  return norm.y;
}

double Transformer::forward(const PackedBatch& batch, double loss_scale, Activations& activations) {
  const c10::InferenceMode no_autograd;
  const at::Tensor final_TD = decode(batch, RouterMode::kTrain, activations);
  const PhaseClock::Scope phase(clock_, StepPhase::kHead);
  const kernels::LinearCrossEntropyGradient loss =
      kernels::linear_cross_entropy_with_gradient(final_TD, head_.value, batch.target_T, loss_scale, head_.gradient);
  activations.dfinal_TD = loss.dx_TD;
  return loss.loss_T.sum(at::kDouble).item<double>();
}

void Transformer::backward(const PackedBatch& batch, Activations& activations) {
  const c10::InferenceMode no_autograd;
  const kernels::RmsNormGradient norm =
      kernels::rms_norm_backward(activations.dfinal_TD, activations.last_TD, final_norm_.value, activations.final_rstd_T);
  final_norm_.gradient.add_(norm.dweight_D);
  at::Tensor dx_TD = norm.dx;
  WaitingWeightGradients waiting(is_alone_ ? 0 : kMostWaitingLayers);
  for (std::size_t layer = attention_.size(); layer-- > 0;) {
    LayerActivations& saved = activations.layers[layer];
    WeightGradients gradients(clock_);
    if (const auto* const moe = std::get_if<MoeLayer>(&feed_forward_[layer])) {
      dx_TD = moe->backward(dx_TD, std::get<MoeActivations>(saved.feed_forward), gradients, waiting);
    } else {
      const PhaseClock::Scope phase(clock_, StepPhase::kFeedForward);
      dx_TD = std::get<DenseLayer>(feed_forward_[layer])
                  .backward(dx_TD, std::get<DenseLayerActivations>(saved.feed_forward), gradients);
    }
    const PhaseClock::Scope phase(clock_, StepPhase::kAttention);
    dx_TD = attention_[layer].backward(dx_TD, batch, saved.attention, key_value_source(batch, layer, activations), gradients,
                                       waiting);
    waiting.add_layer(std::move(gradients));
  }
  waiting.run_all();
  kernels::accumulate_embedding_gradient(dx_TD, batch.token_T, embedding_.gradient);
}

at::Tensor Transformer::evaluate(const PackedBatch& batch) {
  const c10::InferenceMode no_autograd;
  Activations activations;
  const at::Tensor final_TD = decode(batch, RouterMode::kEvaluate, activations);
  return kernels::linear_cross_entropy(final_TD, head_.value, batch.target_T);
}

at::Tensor Transformer::next_token_logits(const PackedBatch& batch) {
  const c10::InferenceMode no_autograd;
  Activations activations;
  const at::Tensor final_TD = decode(batch, RouterMode::kEvaluate, activations);
  if (batch.num_tokens() == 0) return {};
  return at::mv(head_.value, final_TD.select(0, batch.num_tokens() - 1));
}

}  // namespace ballast::model
