#pragma once
// What a plan gives each rank to do, without any clock.
#include <cstdint>
#include <vector>

#include "scheduler/cost/model_shape.h"
#include "scheduler/plan/plan.h"
#include "scheduler/topology/topology.h"

namespace ballast::scheduler {

struct RankLoad {
  std::int64_t tokens = 0;       ///< home tokens, over all micro-batches
  std::int64_t most_tokens = 0;  ///< of one micro-batch, in the larger of the two layouts
  std::int64_t num_pieces = 0;   ///< sequences, or parts of them, whose attention it takes part in
  double attention_seconds = 0;  ///< forward and backward, all layers
  double linear_seconds = 0;
  double seconds() const { return attention_seconds + linear_seconds; }
};

struct PlanLoad {
  std::vector<RankLoad> ranks;
  double imbalance = 1;  ///< of attention and linear work together: max over mean
  double attention_imbalance = 1;
  double token_imbalance = 1;
  double local_fraction = 0;    ///< tokens whose attention stays on one rank
  double node_fraction = 0;     ///< ... inside a node
  double cluster_fraction = 0;  ///< ... across nodes
};

/// Adds up the plan. Cost: linear in the plan.
PlanLoad plan_load(const Plan& plan, const ModelShape& model, const Topology& topology);

}  // namespace ballast::scheduler
