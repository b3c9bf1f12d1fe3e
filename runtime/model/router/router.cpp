#include "runtime/model/router/router.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <stdexcept>

#include "kernels/balance/balance.h"
#include "runtime/model/router/bip_exact_router.h"
#include "runtime/model/router/topk_router.h"

namespace ballast::model {
namespace {

struct Row {
  const char* name;
  std::unique_ptr<Router> (*make)(const RouterOptions&);
};
constexpr std::array kRouters{
    Row{"topk", make_topk_router},
    Row{"bip_exact", make_bip_exact_router},
};
constexpr auto kNames = [] {
  std::array<const char*, kRouters.size()> names{};
  std::transform(kRouters.begin(), kRouters.end(), names.begin(), [](const Row& row) { return row.name; });
  return names;
}();

}  // namespace

std::span<const char* const> router_names() { return kNames; }

std::unique_ptr<Router> make_router(const RouterOptions& options) {
  const auto row = std::find_if(kRouters.begin(), kRouters.end(), [&](const Row& r) { return r.name == options.name; });
  if (row == kRouters.end()) {
    throw std::invalid_argument(
        fmt::format("model.router.name is '{}'; known routers: {}", options.name, fmt::join(router_names(), ", ")));
  }
  if (options.num_experts < 1 || options.experts_per_token < 1 || options.experts_per_token > options.num_experts) {
    throw std::invalid_argument(
        fmt::format("model.experts_per_token is {} with model.num_experts {}; it must lie in 1..num_experts",
                    options.experts_per_token, options.num_experts));
  }
  if (options.dtype != at::kFloat && options.dtype != at::kDouble) {
    throw std::invalid_argument(fmt::format("router of layer {}: scores of type {}; float32 or float64 wanted", options.layer,
                                            c10::toString(options.dtype)));
  }
  return row->make(options);
}

Assignment Router::assign(const at::Tensor& scores_TE, RouterMode mode) {
  if (scores_TE.dim() != 2 || scores_TE.size(1) != options_.num_experts || scores_TE.scalar_type() != options_.dtype) {
    throw std::invalid_argument(fmt::format("router of layer {}: scores are {}[{}]; {}[tokens, {}] wanted", options_.layer,
                                            c10::toString(scores_TE.scalar_type()), fmt::join(scores_TE.sizes(), ", "),
                                            c10::toString(options_.dtype), options_.num_experts));
  }
  const bool learns = mode == RouterMode::kTrain && scores_TE.size(0) > 0;
  Assignment assignment;
  try {
    assignment.expert_TK =
        learns ? choose(scores_TE) : kernels::topk_experts(scores_TE, frozen_bias().neg(), options_.experts_per_token);
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(fmt::format("router of layer {}: {}", options_.layer, error.what()));
  }
  has_pending_ |= learns;
  assignment.count_E = kernels::expert_counts(assignment.expert_TK, options_.num_experts);
  return assignment;
}

void Router::commit(std::int64_t step) {
  if (has_pending_) do_commit(step);
  has_pending_ = false;
}

void Router::discard() {
  if (has_pending_) do_discard();
  has_pending_ = false;
}

}  // namespace ballast::model
