#pragma once
// The decoder: embedding, layers, final norm and head; forward and backward as explicit segments.
#include <functional>
#include <variant>
#include <vector>

#include "runtime/model/attention_layer.h"
#include "runtime/model/feed_forward.h"
#include "runtime/model/layer_pipeline.h"
#include "runtime/model/moe_layer.h"

namespace ballast::model {

/// By index of the block.
template <class T>
using ByBlock = std::vector<T>;

struct LayerActivations {
  AttentionActivations attention;
  std::variant<ByBlock<DenseLayerActivations>, MoeActivations> feed_forward;
};

/// What one micro-batch keeps between its forward and its backward.
struct Activations {
  std::vector<LayerActivations> layers;
  ByBlock<at::Tensor> last_TD, final_rstd_T;  ///< around the final norm
  ByBlock<at::Tensor> dfinal_TD;              ///< gradient of the loss at the head's input
};

class Transformer {
 public:
  /// Every rank of the mesh holds all dense parameters and its ep share of the experts.
  /// Input: mesh and clock outlive the transformer.
  Transformer(const ModelConfig& config, const comm::Mesh& mesh, std::uint64_t seed, metrics::PhaseClock& clock);
  Transformer(const Transformer&) = delete;
  Transformer& operator=(const Transformer&) = delete;

  const ModelConfig& config() const { return config_; }
  Parameters& parameters() { return parameters_; }
  /// Routers of the MoE layers, by layer; nullptr for dense layers.
  std::vector<Router*> routers();

  /// Forward of a micro-batch up to the loss, and the gradient of the loss at the head's input.
  /// Input: loss_scale multiplies the sum of the token losses before it is differentiated (1 / targets of the step).
  /// Returns: sum over the local tokens of the loss, in nats, without loss_scale.
  double forward(const PackedBatch& batch, double loss_scale, Activations& activations);
  /// Backward of the same micro-batch: adds to the gradients of all parameters.
  void backward(const PackedBatch& batch, Activations& activations);

  /// Loss of every local token under the evaluation rule of the routers. Shapes: [T]. Units: nats.
  at::Tensor evaluate(const PackedBatch& batch);
  /// Scores of the token that follows the last local one, under the evaluation rule. Shapes: [V]; undefined without local tokens.
  at::Tensor next_token_logits(const PackedBatch& batch);

 private:
  using FeedForwardLayer = std::variant<DenseLayer, MoeLayer>;
  /// All layers and the final norm; `head` gets the rows of a block, ready ones first.
  void decode(const PackedBatch& batch, RouterMode mode, Activations& activations,
              const std::function<void(const RowBlock&, const at::Tensor&)>& head);
  AttentionActivations& key_value_source(const PackedBatch& batch, std::size_t layer, Activations& activations) const;

  const ModelConfig config_;
  metrics::PhaseClock& clock_;
  const bool has_expert_messages_;  ///< experts are sharded
  Parameters parameters_;
  Weight embedding_, final_norm_, head_;
  std::vector<AttentionLayer> attention_;
  std::vector<FeedForwardLayer> feed_forward_;
};

}  // namespace ballast::model
