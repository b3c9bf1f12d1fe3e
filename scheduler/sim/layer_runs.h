#pragma once
// Equal layers that follow each other, of which a few stand for all.
#include <vector>

#include "scheduler/cost/model_shape.h"
#include "scheduler/plan/plan.h"

namespace ballast::scheduler {

/// What the time of a layer depends on, besides the plan.
struct LayerKind {
  bool has_experts = false;
  bool reads_foreign_keys = false;  ///< of an earlier layer
  bool operator==(const LayerKind&) const = default;
};

/// By layer. Throws: std::invalid_argument when the micro-batch has sources for another number of layers.
std::vector<LayerKind> layer_kinds(const MicroBatch& micro_batch, const ModelShape& model);

/// `period` layers, once or several times.
struct LayerRun {
  int first = 0;  ///< among the layers that are simulated
  int period = 1;
  int num_simulated = 1;  ///< times
  int num_skipped = 0;    ///< times beyond those
  bool operator==(const LayerRun&) const = default;
};

/// Layers that are simulated, in order of execution, and the runs that they form.
struct LayerRuns {
  std::vector<int> layers;
  std::vector<LayerRun> runs;

  /// How often the simulated layer at `position` occurs: the last one of a run stands for those that are skipped.
  int multiplicity(int position) const;
};

/// Cuts `order` (layers in order of execution) in runs of repeated kinds, periods up to eight, and keeps at most `most_repeats`
/// of each (0: all). Cost: linear in layers.
LayerRuns layer_runs(const std::vector<LayerKind>& kinds, const std::vector<int>& order, int most_repeats);

}  // namespace ballast::scheduler
