#pragma once
// x + routed experts(norm(x)) + shared experts(norm(x)): routing over the global micro-batch, experts sharded over ep ranks.
#include <functional>
#include <memory>
#include <vector>

#include "runtime/comm/mesh.h"
#include "runtime/metrics/phase_clock.h"
#include "runtime/model/expert_exchange.h"
#include "runtime/model/feed_forward.h"
#include "runtime/model/model_config.h"
#include "runtime/model/packed_batch.h"
#include "runtime/model/parameters.h"
#include "runtime/model/router/router.h"
#include "runtime/model/router/routing.h"

namespace ballast::model {

/// One block's rows before the router.
struct ScoredRows {
  at::Tensor x_TD, rstd_T, normed_TD, scores_TE;
};

/// What backward needs of one forward call. T local tokens, R = T * K local rows, S rows of the experts held here.
struct MoeActivations {
  std::vector<ScoredRows> blocks;  ///< by index, until they join
  at::Tensor x_TD, rstd_T, normed_TD;
  at::Tensor scores_TE, expert_TK;
  Routing routing;
  ExpertExchange exchange;
  at::Tensor expert_input_SD, gate_up_S2F, hidden_SF;  ///< in expert order
  at::Tensor expert_output_RD;                         ///< back at the tokens
  FeedForwardActivations shared;
  at::Tensor count_E;  ///< int64, load of each expert in the global micro-batch
};

class MoeLayer {
 public:
  MoeLayer(const ModelConfig& config, const Parameters& parameters, std::int64_t layer, const comm::Mesh& mesh,
           metrics::PhaseClock& clock);

  /// The scores of a block's rows: all that comes before the router, which has to see everything.
  void score(const at::Tensor& x_TD, const RowBlock& block, MoeActivations& activations) const;
  /// Returns: the residual stream of all rows. Input: every block is scored.
  at::Tensor forward(const PackedBatch& batch, RouterMode mode, MoeActivations& activations);
  /// Returns: dx [T, D]; `gradients` gets those of the weights. Input: the activations outlive `gradients`; those of `waiting`
  /// may run while rows travel.
  at::Tensor backward(const at::Tensor& dy_TD, const MoeActivations& activations, WeightGradients& gradients,
                      WaitingWeightGradients& waiting) const;
  Router& router() { return *router_; }

 private:
  /// The scores of all tokens of the global micro-batch, [N, E] in (sequence, position) order, on every rank.
  at::Tensor gather_scores(const at::Tensor& scores_TE, const PackedBatch& batch) const;
  /// `do_other_work` is called until the rows are there or it finds none.
  at::Tensor wait(RowsInFlight& rows, const std::function<bool()>& do_other_work) const;
  at::Tensor experts_forward(MoeActivations& activations) const;
  at::Tensor experts_backward(const at::Tensor& dy_SD, const MoeActivations& activations, WeightGradients& gradients) const;

  const std::int64_t num_experts_;
  const double rms_norm_eps_;
  const GateOptions gate_;
  const comm::Mesh& mesh_;
  metrics::PhaseClock& clock_;
  Weight norm_, router_weight_, experts_gate_up_, experts_down_;
  FeedForward shared_;
  std::unique_ptr<Router> router_;
};

}  // namespace ballast::model
