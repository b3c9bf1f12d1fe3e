#pragma once
// Micro-batches with every kind of attention work, homes anywhere: more than policies make.
#include <cstdint>
#include <vector>

#include "scheduler/plan/attention_slices.h"
#include "scheduler/plan/plan.h"

namespace ballast::scheduler {

struct RandomMicroBatch {
  Plan plan;  ///< valid, with one micro-batch
  HeadCounts heads;
  std::vector<int> node_of_rank;
};

/// 1 to 4 sequences of 1 to `longest` tokens on 1 to 9 ranks of 1 to 3 nodes. Each sequence, or pack of sequences, becomes one of
/// the five kinds of work with any members, shares, heads and query blocks; homes are any partition of the tokens.
RandomMicroBatch random_micro_batch(std::uint64_t seed, std::int64_t longest);

}  // namespace ballast::scheduler
