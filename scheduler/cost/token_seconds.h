#pragma once
// Linear work of a token, part by part, for those who need to know when it can run.
#include "scheduler/cost/model_shape.h"
#include "scheduler/topology/topology.h"

namespace ballast::scheduler {

/// Seconds of one token, forward pass; backward takes twice as long. Summed over the layers they are CostRates::token_seconds.
struct TokenSeconds {
  double query = 0;               ///< projection to queries
  double key_value = 0;           ///< projection to keys and values; not in a layer that reads another one's
  double output = 0;              ///< projection of what attention gives
  double router = 0;              ///< scores of a layer with experts
  double dense_feed_forward = 0;  ///< of a layer without experts
  double moe_feed_forward = 0;    ///< shared and routed experts
  double head = 0;                ///< after the last layer
};

TokenSeconds token_seconds(const ModelShape& model, const Topology& topology);

}  // namespace ballast::scheduler
