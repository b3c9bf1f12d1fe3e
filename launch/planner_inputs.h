#pragma once
// What the files of a planner grid, or a run, hold: clusters with models, and batches of lengths.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "launch/planner_grid.h"
#include "runtime/data/corpus.h"
#include "scheduler/cost/model_shape.h"
#include "scheduler/policy/policy.h"
#include "scheduler/topology/topology.h"
#include "scheduler/workload/length_table.h"

namespace ballast::launch {

/// A cluster with a model.
struct PlannerSetting {
  std::string cluster_name, model_name;  ///< as files are called, or as a run calls them
  scheduler::Topology cluster;
  scheduler::ModelShape model;
  int degree = 1;                         ///< neighbouring GPUs that share every layer
  scheduler::PolicyOptions options = {};  ///< of the run; without one, the defaults
};

/// Where batches come from: a distribution, a list that is a batch as it is, or the steps of a run.
struct PlannerLengths {
  std::string name;
  scheduler::LengthTable table = {};
  std::shared_ptr<const data::Corpus> corpus = {};  ///< of the run, in place of a table

  bool is_list() const { return !table.lengths.empty(); }
  /// Batches of `num_tokens` tokens; of a list that list, of a run its first steps.
  /// Throws: std::invalid_argument when there are none of that size.
  std::vector<std::vector<std::int64_t>> batches(std::int64_t num_tokens, const schema::PlannerGrid& grid) const;
};

struct PlannerInputs {
  std::vector<PlannerSetting> settings;  ///< by cluster, then by model
  std::vector<PlannerLengths> lengths;
};

/// Reads all files of the grid. Throws: ConfigError, DataError; std::invalid_argument for lengths that cannot be read.
PlannerInputs planner_inputs(const LoadedPlannerGrid& loaded);

}  // namespace ballast::launch
