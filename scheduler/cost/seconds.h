#pragma once
// Time of the parts of a step, by roofline: operations over rate, bytes over bandwidth.
#include <cstdint>

#include "scheduler/cost/model_shape.h"
#include "scheduler/topology/topology.h"

namespace ballast::scheduler {

/// Costs of one micro-batch on a cluster, forward and backward together unless said. Attention runs at the attention rate and
/// recomputes the scores in backward, so it is 2 parts forward and 5 backward; everything else is 1 forward and 2 backward.
/// Every layer makes its own keys and values.
struct CostRates {
  double pair_seconds = 0;         ///< one query on one key, all heads, all layers, one rank
  double token_seconds = 0;        ///< one token through everything that is not attention, all layers, one rank
  double layer_pair_seconds = 0;   ///< as pair_seconds, one layer
  double layer_token_seconds = 0;  ///< token_seconds over the layers
  double key_value_bytes = 0;      ///< key and value of one token, one layer
  double query_bytes = 0;          ///< query (or output) of one token, one layer
  double message_seconds = 0;
  double intra_bytes_per_second = 0;

  /// A whole sequence on one rank: causal pairs and tokens.
  double sequence_seconds(std::int64_t length) const {
    const double tokens = static_cast<double>(length);
    return pair_seconds * (tokens * (tokens + 1) / 2) + token_seconds * tokens;
  }
};

inline constexpr double kForwardShareOfAttention = 2.0 / 7.0;
inline constexpr double kForwardShareOfLinear = 1.0 / 3.0;

/// Source of the attention ratio: forward QK and PV; backward recomputes QK and forms dV, dP, dQ, dK.
CostRates cost_rates(const ModelShape& model, const Topology& topology);

}  // namespace ballast::scheduler
