#include "runtime/model/router/bip_exact_router.h"

#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "kernels/balance/balance.h"

namespace ballast::model {
namespace {

class BipExactRouter final : public Router {
 public:
  explicit BipExactRouter(const RouterOptions& router_options)
      : Router(router_options),
        price_E_(at::zeros({router_options.num_experts}, router_options.dtype)),
        average_price_E_(at::zeros_like(price_E_)) {
    do_discard();
  }
  std::vector<RouterState> state() override { return {{"price", price_E_}, {"average_price", average_price_E_}}; }
  at::Tensor frozen_bias() const override { return average_price_E_.neg(); }

 private:
  at::Tensor choose(const at::Tensor& scores_TE) override {
    const at::Tensor start_E = pending_tokens_ == 0 ? price_E_ : pending_price_E_;
    kernels::Balanced balanced =
        kernels::balanced_assignment(scores_TE, start_E, options().experts_per_token, options().iterations);
    pending_price_E_ = balanced.price_E;
    pending_sum_E_.add_(balanced.price_E, static_cast<double>(scores_TE.size(0)));
    pending_tokens_ += scores_TE.size(0);
    return balanced.expert_TK;
  }
  void do_commit(std::int64_t step) override {
    price_E_.copy_(pending_price_E_);
    // The plain mean of the first steps, until the decay is the longer memory: no bias towards the zeros of the start.
    const double seen = static_cast<double>(step);
    const double decay = std::min(options().ema_decay, seen / (seen + 1.0));
    average_price_E_.mul_(decay).add_(pending_sum_E_, (1.0 - decay) / static_cast<double>(pending_tokens_));
    do_discard();
  }
  void do_discard() override {
    pending_price_E_ = at::Tensor();
    pending_sum_E_ = at::zeros_like(price_E_);
    pending_tokens_ = 0;
  }

  at::Tensor price_E_;
  at::Tensor average_price_E_;
  at::Tensor pending_price_E_;  // of the last micro-batch of this step
  at::Tensor pending_sum_E_;    // over this step's micro-batches, times their tokens
  std::int64_t pending_tokens_ = 0;
};

}  // namespace

std::unique_ptr<Router> make_bip_exact_router(const RouterOptions& options) {
  if (options.iterations < 1) {
    throw std::invalid_argument(fmt::format("model.router.iterations is {}; at least 1 wanted", options.iterations));
  }
  if (!(options.ema_decay >= 0.0 && options.ema_decay <= 1.0)) {
    throw std::invalid_argument(fmt::format("model.router.ema_decay is {}; a value in 0..1 wanted", options.ema_decay));
  }
  return std::make_unique<BipExactRouter>(options);
}

}  // namespace ballast::model
