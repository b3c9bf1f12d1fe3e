#pragma once
// Which experts each token visits. A router knows the scores of one layer for one global micro-batch and nothing else:
// the caller gathers them from all ranks, every rank computes the same answer and takes its own rows.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace ballast::model {

/// Plain form of the schema's Router, for one layer.
struct RouterOptions {
  std::string name = "bip_exact";
  std::int64_t layer = 0;  ///< for error texts
  std::int64_t num_experts = 0;
  std::int64_t experts_per_token = 0;
  std::int64_t iterations = 4;  ///< bip_exact: iterations of the dual per micro-batch
  double ema_decay = 0.95;      ///< bip_exact: share of the old value in the prices that evaluation uses
  at::ScalarType dtype = at::kFloat;
};

enum class RouterMode {
  kTrain,     ///< balanced as the router does; its state will move at the next commit()
  kEvaluate,  ///< the frozen bias alone, each token for itself: what the exported model does
};

/// Experts of every token of the micro-batch.
struct Assignment {
  at::Tensor expert_TK;  ///< int64, ascending in each row
  at::Tensor count_E;    ///< int64, tokens of each expert
};

/// A tensor of a router's state, for checkpoints. Loading writes into `tensor`.
struct RouterState {
  std::string name;
  at::Tensor tensor;
};

/// Chooses the experts of the tokens of one layer. State changes only by commit() (and by loading into state()).
class Router {
 public:
  virtual ~Router() = default;
  Router(const Router&) = delete;
  Router& operator=(const Router&) = delete;

  /// Experts of all tokens of a global micro-batch. A step's micro-batches come in order; what one teaches serves the next, and
  /// is kept by commit(). During recomputation use the stored assignment, do not ask again.
  /// Shapes: scores_TE of RouterOptions::dtype, rows in (sequence, position) order, the same on every rank.
  /// Deterministic: the same scores give the same answer, whatever the number of ranks and threads.
  /// Throws: std::invalid_argument for a wrong shape or type, std::runtime_error naming the layer when a score is not finite.
  Assignment assign(const at::Tensor& scores_TE, RouterMode mode);
  /// Ends step `step` (counted from 0): makes what its micro-batches taught the state. No effect when there was none.
  void commit(std::int64_t step);
  /// Forgets what was taught since the last commit(), as when a step is abandoned.
  void discard();

  /// Tensors to save and load. Valid as long as the router.
  virtual std::vector<RouterState> state() = 0;
  /// b of "the K largest s + b": what evaluation, generation and exported models use.
  /// Returns: bias_E of RouterOptions::dtype.
  virtual at::Tensor frozen_bias() const = 0;

  const RouterOptions& options() const { return options_; }

 protected:
  explicit Router(RouterOptions options) : options_(std::move(options)) {}

 private:
  /// Train mode, scores checked, at least one token.
  virtual at::Tensor choose(const at::Tensor& scores_TE) = 0;
  virtual void do_commit(std::int64_t step) = 0;
  virtual void do_discard() = 0;

  RouterOptions options_;
  bool has_pending_ = false;
};

/// Throws: std::invalid_argument for an unknown name (answered with the known ones) or options that make no sense.
std::unique_ptr<Router> make_router(const RouterOptions& options);
std::span<const char* const> router_names();

}  // namespace ballast::model
