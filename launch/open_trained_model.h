#pragma once
// What `eval` and `generate` begin with: a run's model as its newest checkpoint left it.
#include <memory>
#include <string>

#include "launch/command.h"
#include "launch/config_file.h"
#include "runtime/train/trainer.h"

namespace ballast::launch {

struct TrainedModel {
  LoadedConfig config;
  std::unique_ptr<train::Trainer> trainer;
  std::string checkpoint;  ///< its folder
  std::int64_t step = 0;
};

/// Input: the line's first argument is a run file; train.run_folder in it, or its newest numbered sibling with a checkpoint, or
/// the folder that holds a resolved run file, is where the checkpoints are. Any number of ranks may load what any number saved.
/// Notes about the choice go to line.errors on rank 0.
/// Throws: ConfigError; std::invalid_argument for a checkpoint of another model; checkpoint::LoadError;
/// checkpoint::NothingToResume.
TrainedModel open_trained_model(const CommandLine& line, comm::Communicator& world);

}  // namespace ballast::launch
