#pragma once
// The folder of one run: made once, locked while a process works in it, never overwritten.
#include <cstdint>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/checkpoint/exit_code.h"

namespace ballast::checkpoint {

/// Another living process works in the folder. The text names its host, pid and run. Exit code 2.
class RunFolderBusy : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
/// There is no checkpoint to go on from. The text names every folder that was looked at. Exit code 5.
class NothingToResume : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

enum class RunState { kRunning, kFinished, kStopped, kFailed };

/// What a job script reads when the launcher's exit code says too little.
struct RunStatus {
  RunState state = RunState::kRunning;
  ExitCode exit_code = ExitCode::kDone;
  std::string reason;                   ///< one line for a person; empty while all is well
  std::int64_t last_durable_step = -1;  ///< -1: none yet
};

/// A run that has a checkpoint.
struct NewestRun {
  std::filesystem::path folder;
  std::vector<std::string> notes;  ///< which one was chosen and what was passed over
};
/// The newest (highest numbered) of `wanted`, `wanted`-2, `wanted`-3, ... that holds a published checkpoint.
/// Throws: NothingToResume, FileError.
NewestRun newest_run(const std::filesystem::path& wanted);

/// One run's folder, held by this process. Made and held by rank 0 only; it tells the others path() and run_id().
///
///     <folder>/lock           host, pid and run id of the holder; emptied at a clean end
///     <folder>/run_id         one line, made once, kept over restarts
///     <folder>/status.json    RunStatus, replaced as a whole
///     <folder>/checkpoints/   publish.h
class RunFolder {
 public:
  /// Makes `wanted`, or, where that exists, the first free of `wanted`-2, `wanted`-3, ...
  /// Throws: FileError.
  static RunFolder create(const std::filesystem::path& wanted);
  /// Opens exactly `folder`, with or without checkpoints in it.
  /// Throws: NothingToResume when it does not exist, RunFolderBusy, FileError.
  static RunFolder open(const std::filesystem::path& folder);
  /// Opens newest_run(wanted).
  /// Throws: NothingToResume, RunFolderBusy, FileError.
  static RunFolder resume(const std::filesystem::path& wanted);

  RunFolder(RunFolder&& other) noexcept;
  RunFolder& operator=(RunFolder&& other) = delete;
  /// Releases the lock.
  ~RunFolder();

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path checkpoints() const { return path_ / "checkpoints"; }
  const std::string& run_id() const { return run_id_; }
  /// What a person should be told: the folder that was chosen and why, a stale lock that was taken over.
  const std::vector<std::string>& notes() const { return notes_; }

  /// Replaces status.json: a reader sees the old or the new one, whole.
  /// Throws: FileError.
  void write_status(const RunStatus& status) const;

 private:
  RunFolder(std::filesystem::path path, std::vector<std::string> notes);

  std::filesystem::path path_;
  std::string run_id_;
  std::vector<std::string> notes_;
  int lock_ = -1;
};

}  // namespace ballast::checkpoint
