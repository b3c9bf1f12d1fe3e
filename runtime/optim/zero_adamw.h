#pragma once
// AdamW whose state is sharded over the ranks that hold the same parameters (ZeRO stage 1).
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/adamw/adamw.h"
#include "runtime/comm/communicator.h"
#include "runtime/model/parameter_set.h"
#include "runtime/optim/shard_layout.h"

namespace ballast::optim {

/// Plain form of the schema's Optim.
struct AdamwOptions {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  double clip_norm = 1.0;  ///< 0: no clipping
};

/// A parameter group and the ranks that hold the same one: the world for dense parameters, for experts the ranks with the same
/// experts. Both outlive the optimizer.
struct ReplicatedGroup {
  model::ParameterGroup* group = nullptr;
  comm::Communicator* replicas = nullptr;
};

/// A contiguous run of a row-major global tensor that this rank is responsible for. Writing into `tensor` loads it.
struct StatePiece {
  std::string name;  ///< the parameter's
  std::string kind;  ///< "value", "exp_avg" (first moment) or "exp_avg_sq" (second moment)
  std::vector<std::int64_t> global_shape;
  std::int64_t global_begin = 0;  ///< index in the global tensor of the run's first element
  at::Tensor tensor;              ///< flat view
};

/// One step: reduce_gradients, clip_gradients, update, gather_parameters; the same calls in the same order on every rank.
/// Results do not depend on the number of ranks beyond rounding.
class ZeroAdamw {
 public:
  /// Input: groups whose parameters tile the flat buffers in order; `world` holds every rank once.
  /// Throws: std::invalid_argument when a group is not laid out so.
  ZeroAdamw(std::vector<ReplicatedGroup> groups, comm::Communicator& world, const AdamwOptions& options);

  /// Sums the gradients of the replicas into this rank's run of each gradient buffer; what else the buffer holds is then stale.
  /// The loss is already scaled by the global number of targets.
  void reduce_gradients();
  /// Norm of all reduced gradients of the model, each element once; the same on every rank.
  double global_norm() const;
  /// Scales the reduced gradients to a global norm of at most clip_norm.
  /// Returns: the norm before.
  /// Throws: std::runtime_error when it is not finite; nothing has been changed then.
  double clip_gradients();
  /// AdamW on this rank's shards; decay only where has_weight_decay.
  void update(double learning_rate);
  /// Brings all shards of the values to all replicas. After update(), and after loading.
  void gather_parameters();

  /// Everything a checkpoint stores of this rank: over all ranks each element of each parameter exactly once per kind.
  std::vector<StatePiece> state() const;
  std::int64_t num_updates() const { return num_updates_; }
  /// For loading: AdamW's bias corrections depend on it.
  void set_num_updates(std::int64_t num_updates);

 private:
  /// This rank's run of a group: views into its buffers, and the state of them.
  struct Shard {
    ReplicatedGroup source;
    ShardLayout layout;
    std::int64_t begin = 0;
    std::int64_t count = 0;
    at::Tensor value, gradient, exp_avg, exp_avg_sq;
    std::vector<kernels::AdamWRun> runs;
  };
  /// The part of a parameter that lies in a shard.
  struct Overlap {
    const model::Parameter& parameter;
    std::int64_t begin, end;  // within the shard
    std::int64_t begin_in_parameter;
  };
  static std::vector<Overlap> overlaps(const Shard& shard);
  Shard make_shard(const ReplicatedGroup& source) const;

  std::vector<Shard> shards_;
  comm::Communicator& world_;
  AdamwOptions options_;
  std::int64_t num_updates_ = 0;
};

}  // namespace ballast::optim
