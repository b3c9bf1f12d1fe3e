#pragma once
// What the process tells the shell, the launcher and the job script.
#include <exception>

namespace ballast::launch {

enum ExitCode : int {
  kSuccess = 0,
  kBug = 1,          ///< a broken invariant of ours
  kUserInput = 2,    ///< config, usage, impossible plan, refused resume
  kEnvironment = 3,  ///< singleton, missing device or file system, FAIL in doctor
  kData = 4,         ///< data missing or corrupt
  kCheckpoint = 5,   ///< no usable checkpoint, or saving failed repeatedly
  kNumeric = 6,      ///< non-finite beyond policy, replicas that differ
  kLostPeer = 7,     ///< a peer hangs or is gone
  kRunAgain = 75,    ///< saved; the same command with --resume goes on
};

/// The code that an error ends the process with. Its class decides: the caller is wrong, the world is wrong, or we are.
int exit_code_of(const std::exception& error);

}  // namespace ballast::launch
