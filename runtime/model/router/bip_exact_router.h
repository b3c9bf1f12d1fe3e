#pragma once
#include "runtime/model/router/router.h"

namespace ballast::model {

/// `bip_exact`: prices q from a few iterations of the dual on the micro-batch itself, started from the last one's, then exact
/// repair: every expert gets floor(T K / E) tokens or one more, from the first step on.
/// State: `price`, the start of the next step; `average_price`, the moving average over steps, minus which is the frozen bias.
/// Within a step q passes from micro-batch to micro-batch; the average takes their mean, weighted by tokens.
std::unique_ptr<Router> make_bip_exact_router(const RouterOptions& options);

}  // namespace ballast::model
