#include "runtime/model/router/topk_router.h"

#include <ATen/ops/zeros.h>

#include "kernels/balance/balance.h"

namespace ballast::model {
namespace {

class TopkRouter final : public Router {
 public:
  explicit TopkRouter(const RouterOptions& router_options)
      : Router(router_options), bias_E_(at::zeros({router_options.num_experts}, router_options.dtype)) {}
  std::vector<RouterState> state() override { return {{"bias", bias_E_}}; }
  at::Tensor frozen_bias() const override { return bias_E_; }

 private:
  at::Tensor choose(const at::Tensor& scores_TE) override {
    return kernels::topk_experts(scores_TE, bias_E_.neg(), options().experts_per_token);
  }
  void do_commit(std::int64_t) override {}
  void do_discard() override {}

  at::Tensor bias_E_;
};

}  // namespace

std::unique_ptr<Router> make_topk_router(const RouterOptions& options) { return std::make_unique<TopkRouter>(options); }

}  // namespace ballast::model
