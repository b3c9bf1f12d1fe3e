#pragma once
// Linear work between two attentions.
#include <vector>

#include "scheduler/cost/token_seconds.h"
#include "scheduler/plan/expand.h"
#include "scheduler/sim/layer_runs.h"
#include "scheduler/trace/timeline.h"

namespace ballast::scheduler {

/// Kernels that are not interrupted.
struct SegmentPiece {
  double token_seconds = 0;
  Work work = Work::kFeedForward;
};

/// What a group of tokens does between the attention of one layer and that of the next, in order of execution.
struct Segment {
  std::vector<SegmentPiece> pieces;
  /// Of one token: gradients of the weights, if they are not among the pieces. They wait for all groups.
  double weight_seconds = 0;
  int barrier = -1;  ///< the piece before which all ranks wait for each other; -1: none
  int layer = 0;     ///< of the model: the one that follows in the forward pass, or the last
};

/// The segments of a pass over `layers` (in order of execution): one before each layer's attention, and one after the last.
/// `kinds` by layer of the model. `defers_weight_gradients`: backward pieces of layers are the gradients of their inputs only,
/// half of the work.
std::vector<Segment> segments(Pass pass, const std::vector<int>& layers, const std::vector<LayerKind>& kinds,
                              const TokenSeconds& seconds, bool defers_weight_gradients);

}  // namespace ballast::scheduler
