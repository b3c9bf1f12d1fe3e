#pragma once
// x + output(attention(norm(x))): the attention half of a decoder layer as linear work of row blocks around an attention pass,
// forward and backward written out.
#include <memory>
#include <vector>

#include "runtime/model/model_config.h"
#include "runtime/model/packed_batch.h"
#include "runtime/model/parameters.h"
#include "runtime/model/ring_attention.h"
#include "runtime/model/weight_gradients.h"

namespace ballast::model {

/// What backward needs of one block's rows.
struct AttentionRows {
  at::Tensor x_TD, rstd_T, normed_TD;
  at::Tensor query_TNH, query_rstd;  ///< before and after the per-head norm's statistics; before rotary
  at::Tensor key_TGH, key_rstd;
};

/// What backward needs of one forward call. Keys and values may be read by later layers, which then add to their gradients.
struct AttentionActivations {
  std::vector<AttentionRows> blocks;  ///< by index
  HomeAttention attention;            ///< its queries, keys and values are after rotary
};

/// Calls follow each other as in the class, of each block by itself.
/// Shapes: x, y and their gradients [T, D] with the T rows of the block.
/// Input: `source` holds the keys and values to read: `activations` itself, or an earlier layer's.
class AttentionLayer {
 public:
  /// Input: all but the parameters outlive the layer.
  AttentionLayer(const ModelConfig& config, const Parameters& parameters, std::int64_t layer, const AttentionChannels& channels);

  /// Queries of a block's rows, and keys and values if the layer makes them.
  void project(const at::Tensor& x_TD, const PackedBatch& batch, const RowBlock& block, AttentionActivations& activations,
               const AttentionActivations& source) const;
  std::unique_ptr<AttentionPass> attention(const PackedBatch& batch, AttentionActivations& activations,
                                           AttentionActivations& source) const;
  /// Returns: the residual stream after attention.
  at::Tensor output(const RowBlock& block, const AttentionActivations& activations) const;

  /// Gradient of attention's output. `gradients` gets those of the weights, here and below.
  void output_backward(const at::Tensor& dy_TD, const PackedBatch& batch, const RowBlock& block,
                       AttentionActivations& activations, WeightGradients& gradients) const;
  /// Adds to the source's dk, dv.
  std::unique_ptr<AttentionPass> attention_backward(const PackedBatch& batch, AttentionActivations& activations,
                                                    AttentionActivations& source) const;
  /// Returns: dx. Input: the same dy.
  at::Tensor project_backward(const at::Tensor& dy_TD, const PackedBatch& batch, const RowBlock& block,
                              const AttentionActivations& activations, WeightGradients& gradients) const;

 private:
  struct Projection {
    Weight weight, bias, norm;  ///< bias and norm undefined where the model has none
  };
  at::Tensor project(const Projection& projection, const at::Tensor& normed_TD, std::int64_t num_heads) const;
  /// A projection's part of the gradient of the normed input.
  at::Tensor project_backward(const Projection& projection, const at::Tensor& dy, const at::Tensor& normed_TD,
                              WeightGradients& gradients) const;

  const ModelConfig& config_;
  AttentionChannels channels_;
  double scale_;
  Weight norm_, output_;
  Projection query_, key_, value_;
};

}  // namespace ballast::model
