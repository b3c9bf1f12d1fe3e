#pragma once
// A small run as the train command would start it, for tests of the loop.
#include <filesystem>
#include <string>
#include <vector>

#include "launch/config_file.h"
#include "runtime/train/train_loop.h"

namespace ballast::train {

struct RunOutcome {
  checkpoint::ExitCode exit_code = checkpoint::ExitCode::kBug;
  std::string console;
};

/// Writes a run file for documents in `folder`/data into `folder` and trains on `num_ranks` threads, in `folder`/run.
RunOutcome train_small(const std::filesystem::path& folder, int num_ranks, bool is_resumed, std::vector<std::string> set = {});

/// XXH3 hash of each file of the newest checkpoint, and the losses of metrics.jsonl, as text to compare.
std::string state_of_run(const std::filesystem::path& run_folder);

}  // namespace ballast::train
