#pragma once
// The tokens of one micro-batch that this rank computes, and how they sit in the global micro-batch.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "runtime/model/attention_program.h"
#include "scheduler/cost/model_shape.h"
#include "scheduler/plan/plan.h"
#include "scheduler/topology/topology.h"

namespace ballast::model {

/// Local tokens in rows, late ones first (attention_program.h), without padding. T may be zero.
struct PackedBatch {
  at::Tensor token_T;     ///< int64, input tokens
  at::Tensor target_T;    ///< int64, next tokens
  at::Tensor position_T;  ///< int64, position inside the document's sequence
  std::shared_ptr<const AttentionProgram> attention;
  std::vector<int> kv_source_layer;  ///< by layer
  /// Row of the global micro-batch, in (sequence, position) order, of each token of each rank: global_row[r] has rank r's
  /// tokens in the order of its homes. The same on every rank.
  std::vector<std::vector<std::int64_t>> global_row;
  std::vector<std::int64_t> own_global_row;  ///< by local row
  at::Tensor home_row_T;                     ///< int64, local rows in the order of the homes; undefined: the same order
  std::int64_t num_global_tokens = 0;

  std::int64_t num_tokens() const { return token_T.size(0); }
};

/// Tokens of one sequence of the step: n inputs and the n tokens that follow them.
struct SequenceTokens {
  std::span<const std::int32_t> inputs;
  std::span<const std::int32_t> targets;
};

/// What executing a plan needs besides the plan.
struct PackOptions {
  scheduler::HeadCounts heads;
  std::vector<int> node_of_rank;
  TaskOrder order = TaskOrder::kWorkConserving;
  std::int64_t most_rows_per_block = 1024;  ///< as the simulator counts
};

/// Those of a model on a cluster.
PackOptions pack_options(const scheduler::ModelShape& model, const scheduler::Topology& topology);

/// Cuts rank `rank`'s part out of micro-batch `micro_batch` of a plan.
/// Input: sequences[i] belongs to plan.lengths[i].
PackedBatch pack(const scheduler::Plan& plan, int micro_batch, int rank, std::span<const SequenceTokens> sequences,
                 const PackOptions& options);

}  // namespace ballast::model
