// ballast train: a run from its file to its last checkpoint.
#include <fmt/format.h>

#include <ostream>

#include "launch/runtime_commands.h"
#include "launch/shared_config.h"
#include "runtime/train/run_config.pb.h"
#include "runtime/train/train_loop.h"

namespace ballast::launch {
namespace {

/// One line per field that changes results and differs.
std::string describe_differences(const schema::RunConfig& now, const std::string& saved_text) {
  const LoadedConfig saved = parse_run_config(saved_text, "the checkpoint's config", std::nullopt);
  std::string text;
  for (const FieldDifference& difference : differing_fields(*saved.run, now)) {
    if (difference.is_cosmetic) continue;
    text += fmt::format("  {}: {} when saved, {} now\n", difference.path, difference.left, difference.right);
  }
  return text;
}

}  // namespace

int run_train(const CommandLine& line, comm::Communicator& world) {
  const LoadedConfig loaded =
      load_config_on_all_ranks({.run_file = line.arguments[0], .set = line.set, .world = world.size()}, world);
  world.set_deadline(std::chrono::duration<double>(loaded.run->parallel().deadline_seconds()));
  checkpoint::StopSignal stop_signal;
  const train::RunInput input = {
      .config = *loaded.run,
      .config_text = loaded.text,
      .config_hash = loaded.hash,
      .files = {{"config.resolved.textproto", loaded.text}, {"config.origins.tsv", origins_table(loaded)}},
      .describe_differences = [&](const std::string& saved) { return describe_differences(*loaded.run, saved); },
      .stop_requested = [&] { return stop_signal.requested(); },
      .next_command =
          [](const std::string& run_folder) {
            return fmt::format("build/cpu/ballast generate {}/config.resolved.textproto --set generate.prompt='\"def \"'",
                               run_folder);
          },
  };
  return static_cast<int>(train::train(input, world, line.resume, *line.output));
}

}  // namespace ballast::launch
