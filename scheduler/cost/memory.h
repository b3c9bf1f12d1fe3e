#pragma once
// Bytes of training state and activations on one rank.
#include <cstdint>

#include "scheduler/cost/model_shape.h"

namespace ballast::scheduler {

/// How the model is spread: dense parameters are replicated on every rank, experts over `expert_parallel` ranks, optimizer state
/// over the replicas.
struct Sharding {
  int num_ranks = 1;
  int expert_parallel = 1;
};

struct MemoryBytes {
  std::int64_t weights = 0;
  std::int64_t gradients = 0;
  std::int64_t optimizer =
      0;  ///< two float32 moments of the rank's shard, and a float32 copy of the weights if they are narrower
  std::int64_t activations = 0;  ///< kept between forward and backward, for the rank's tokens
  std::int64_t total() const { return weights + gradients + optimizer + activations; }
};

/// Activation bytes that one token keeps over all layers: what explicit backward reads (see runtime/model), routed rows included.
std::int64_t activation_bytes_per_token(const ModelShape& model);

/// Bytes that one token's gradients of all outputs of linear work take in one layer, the widest one: with the inputs they make
/// the gradients of the weights.
std::int64_t output_gradient_bytes_per_token(const ModelShape& model);

/// Memory of a rank that holds `num_tokens` tokens of a micro-batch.
MemoryBytes memory_bytes(const ModelShape& model, const Sharding& sharding, std::int64_t num_tokens);

}  // namespace ballast::scheduler
