#include "launch/open_trained_model.h"

#include <fmt/format.h>

#include <filesystem>
#include <ostream>

#include "launch/any_world_config.h"
#include "runtime/checkpoint/run_folder.h"
#include "runtime/train/run_config.pb.h"
#include "runtime/train/train_state.h"

namespace ballast::launch {

TrainedModel open_trained_model(const CommandLine& line, comm::Communicator& world) {
  TrainedModel model;
  const std::filesystem::path run_file = line.arguments[0];
  model.config = load_config_for_any_world(run_file, line, world);

  // A resolved run file lies beside its checkpoints; any other names the run folder.
  const std::filesystem::path beside = run_file.parent_path();
  const std::filesystem::path folder = std::filesystem::is_directory(beside / "checkpoints")
                                           ? beside
                                           : checkpoint::newest_run(model.config.run->train().run_folder()).folder;
  const checkpoint::Found found = checkpoint::find_newest(world, folder / "checkpoints");
  if (world.rank() == 0) {
    for (const std::string& note : found.report) *line.errors << note << "\n";
  }
  if (!found.checkpoint) {
    throw checkpoint::NothingToResume(
        fmt::format("{}: there is no checkpoint; train first: ballast train {}", folder.string(), run_file.string()));
  }
  model.trainer = std::make_unique<train::Trainer>(*model.config.run, world);
  train::load_model(*model.trainer, *found.checkpoint);
  model.checkpoint = found.checkpoint->folder().string();
  model.step = found.checkpoint->manifest().point.step;
  return model;
}

}  // namespace ballast::launch
