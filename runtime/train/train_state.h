#pragma once
// What training goes on from: saved with every checkpoint, loaded by resume.
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "runtime/checkpoint/load.h"
#include "runtime/checkpoint/publish.h"
#include "runtime/train/trainer.h"

namespace ballast::train {

/// Where the run stands between two steps.
struct Progress {
  std::int64_t step = 0;              ///< finished
  std::int64_t consumed_samples = 0;  ///< position in the data
  std::int64_t consumed_tokens = 0;
  std::int64_t skipped_steps = 0;             ///< not updated because the loss or a gradient was not finite
  std::int64_t worst_load_above_minimum = 0;  ///< over all steps so far
  double worst_load_max_over_mean = 1;
};

/// Saves model, optimizer, routers and progress, collectively.
/// Throws: as checkpoint::save.
checkpoint::Saved save(Trainer& trainer, const Progress& progress, const checkpoint::SaveOptions& options,
                       checkpoint::TrainingPoint point);

/// Loads everything that training goes on from. The number of ranks and ep may differ from those that saved.
/// Throws: as checkpoint::Checkpoint::read; std::invalid_argument where the checkpoint is of other data.
Progress resume(Trainer& trainer, const checkpoint::Checkpoint& checkpoint);

/// Loads what evaluation and generation need: weights and routers.
void load_model(Trainer& trainer, const checkpoint::Checkpoint& checkpoint);

}  // namespace ballast::train
