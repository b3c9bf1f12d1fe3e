#pragma once
// A plan as the simulator walks it.
#include <array>
#include <optional>
#include <vector>

#include "scheduler/cost/token_seconds.h"
#include "scheduler/plan/plan.h"
#include "scheduler/sim/layer_runs.h"
#include "scheduler/sim/pass_program.h"

namespace ballast::scheduler {

struct MicroBatchProgram {
  std::vector<LayerKind> layers;
  /// By pass, then by use of keys and values; only the uses that occur.
  std::array<std::array<std::optional<PassProgram>, 2>, 2> passes;
  /// By rank, then token group: tokens at home, charged ones.
  std::vector<std::array<double, kNumTokenGroups>> tokens;

  const PassProgram& program(Pass pass, int layer) const {
    return *passes[static_cast<int>(pass)][layers[layer].reads_foreign_keys ? 1 : 0];
  }
};

struct StepProgram {
  std::vector<RankProgram> ranks;
  std::vector<MicroBatchProgram> micro_batches;
  TokenSeconds token_seconds;
  /// If every micro-batch is one symmetric ring, all of one size: its rounds, and those that the programs have. Else 0.
  int all_rounds = 0;
  int num_rounds = 0;
};

/// Expands every micro-batch; symmetric rings (symmetric_ring.h) as one sequence, of which `most_rounds` rounds are kept where
/// all micro-batches are such rings of one size (0: all of them). Throws: std::invalid_argument when plan, model and cluster do
/// not fit together.
StepProgram step_program(const Plan& plan, const ModelShape& model, const Topology& topology, int most_rounds = 0);

}  // namespace ballast::scheduler
