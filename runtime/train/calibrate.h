#pragma once
// What this machine can do, in the numbers that planning and simulation use: work of a rank, links between ranks.
#include <cstdint>
#include <vector>

#include "runtime/train/core_share.h"
#include "runtime/train/trainer.h"
#include "scheduler/cost/calibration.h"

namespace ballast::train {

/// Steps in which every rank has the same documents, all ranks at the same time.
struct MeasuredWork {
  std::int64_t num_documents = 0;  ///< on each rank
  std::int64_t document_tokens = 0;
  scheduler::WorkPoint point;  ///< of one rank
};

/// One block of attention, forward and backward, all ranks at the same time. For comparison: rates come from whole steps.
struct MeasuredBlock {
  std::int64_t tokens = 0;  ///< queries, and as many keys, all of them seen
  double pair_seconds = 0;  ///< of one layer
};

/// Messages between ranks, each rank sending one and receiving one at a time.
struct MeasuredLink {
  bool is_between_nodes = false;
  bool is_alone = false;  ///< two ranks; else all ranks at the same time
  std::vector<scheduler::MessagePoint> points;
  scheduler::LinkFit fit;
};

struct Calibration {
  CoreShare cores;
  int num_rounds = 0;
  std::vector<MeasuredWork> work;
  scheduler::WorkFit work_fit;  ///< its fixed part is that of a step: optimizer, gradients, start of kernels
  std::vector<MeasuredBlock> blocks;
  std::vector<MeasuredLink> links;  ///< kinds that the cluster has
  double gemm_rate_before = 0;      ///< of all ranks together, floating point operations per second
  double gemm_rate_after = 0;
  bool is_noisy = false;  ///< the GEMM rate moved by more than 10 %: calibrate again
  /// The run's cluster on this world, with what was measured in place of what was declared. Links: those of all ranks at the same
  /// time; kinds that were not measured stay.
  scheduler::Topology topology;
};

/// Measures. Each figure is the median of some rounds in turn. Nothing is saved. Collective, with the same result on all ranks.
/// Throws: std::invalid_argument as the fits, when what was measured cannot be explained.
Calibration calibrate(Trainer& trainer);

}  // namespace ballast::train
