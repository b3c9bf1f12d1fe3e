#pragma once
#include "runtime/model/router/router.h"

namespace ballast::model {

/// `topk`: the best by score. The frozen bias is a tensor that stays zero, so that all models have one.
std::unique_ptr<Router> make_topk_router(const RouterOptions& options);

}  // namespace ballast::model
