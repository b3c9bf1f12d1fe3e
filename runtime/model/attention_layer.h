#pragma once
// x + output(attention(norm(x))): the attention half of a decoder layer, forward and backward written out.
#include "runtime/model/model_config.h"
#include "runtime/model/packed_batch.h"
#include "runtime/model/parameters.h"
#include "runtime/model/ring_attention.h"
#include "runtime/model/weight_gradients.h"

namespace ballast::model {

/// What backward needs of one forward call. Keys and values may be read by later layers, which then add to their gradients.
struct AttentionActivations {
  at::Tensor x_TD, rstd_T, normed_TD;
  at::Tensor query_TNH, query_rstd;  ///< before and after the per-head norm's statistics; before rotary
  at::Tensor key_TGH, key_rstd;
  HomeAttention attention;  ///< its queries, keys and values are after rotary
};

class AttentionLayer {
 public:
  /// Input: ranks and clock outlive the layer.
  AttentionLayer(const ModelConfig& config, const Parameters& parameters, std::int64_t layer, comm::Communicator& ranks,
                 metrics::PhaseClock& clock);

  /// Input: `source` holds the keys and values to read: `activations` itself, or an earlier layer's.
  /// Returns: the residual stream after attention, [T, D].
  at::Tensor forward(const at::Tensor& x_TD, const PackedBatch& batch, AttentionActivations& activations,
                     AttentionActivations& source) const;
  /// Returns: dx [T, D]; `gradients` gets those of the weights; adds to the source's dk, dv.
  /// Input: `gradients` of earlier layers may run while messages travel.
  at::Tensor backward(const at::Tensor& dy_TD, const PackedBatch& batch, AttentionActivations& activations,
                      AttentionActivations& source, WeightGradients& gradients, WaitingWeightGradients& waiting) const;

 private:
  struct Projection {
    Weight weight, bias, norm;  ///< bias and norm undefined where the model has none
  };
  at::Tensor project(const Projection& projection, const at::Tensor& normed_TD, std::int64_t num_heads) const;
  /// A projection's part of the gradient of the normed input.
  at::Tensor project_backward(const Projection& projection, const at::Tensor& dy, const at::Tensor& normed_TD,
                              WeightGradients& gradients) const;

  const ModelConfig& config_;
  comm::Communicator* ranks_;
  metrics::PhaseClock* clock_;
  double scale_;
  Weight norm_, output_;
  Projection query_, key_, value_;
};

}  // namespace ballast::model
