#pragma once
// A training run from its config to its last checkpoint.
#include <functional>
#include <iosfwd>
#include <map>
#include <string>

#include "runtime/checkpoint/exit_code.h"
#include "runtime/checkpoint/stop_signal.h"
#include "runtime/comm/communicator.h"

namespace ballast::schema {
class RunConfig;
}

namespace ballast::train {

/// A checked config as the command line gives it.
struct RunInput {
  const schema::RunConfig& config;
  std::string config_text;                   ///< resolved, complete
  std::uint64_t config_hash = 0;             ///< of what changes results
  std::map<std::string, std::string> files;  ///< name and content of what is written into the run folder
  /// Fields in which a saved config differs from this one, for the refusal to resume.
  std::function<std::string(const std::string& saved_config_text)> describe_differences;
  /// Polled between steps: whether this rank was asked to stop.
  std::function<checkpoint::StopRequest()> stop_requested;
  /// What a person may do next with the finished run.
  std::function<std::string(const std::string& run_folder)> next_command;
};

/// Trains, evaluates and reports. Called by all ranks.
/// Input: console and notes are written by rank 0 only.
/// Returns: the exit code, the same on every rank.
/// Throws: std::invalid_argument (config, refused resume), checkpoint::NothingToResume, checkpoint::RunFolderBusy,
/// checkpoint::LoadError, data::DataError, comm::CommError; on the same call on all ranks or followed by the others' deadline.
checkpoint::ExitCode train(const RunInput& input, comm::Communicator& world, bool is_resumed, std::ostream& console);

}  // namespace ballast::train
