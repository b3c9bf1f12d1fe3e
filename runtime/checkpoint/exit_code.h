#pragma once
// What a job script learns from the exit status.

namespace ballast::checkpoint {

/// The same code leaves every rank. Above 128: killed by signal (code - 128), not ours to choose.
enum class ExitCode : int {
  kDone = 0,           ///< all asked steps done, all saves durable
  kBug = 1,            ///< a broken invariant of ours
  kUser = 2,           ///< config, usage, impossible plan, refused resume
  kEnvironment = 3,    ///< singleton, missing device, failed doctor
  kData = 4,           ///< data missing or damaged
  kCheckpoint = 5,     ///< no usable checkpoint, or saving failed repeatedly
  kNumeric = 6,        ///< not finite beyond the policy, replicas differ
  kPeer = 7,           ///< hang or lost peer
  kAgain = 75,         ///< saved; run me again
  kInterrupted = 130,  ///< second SIGINT: stopped without saving
};

}  // namespace ballast::checkpoint
