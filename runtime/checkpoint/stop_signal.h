#pragma once
// Signals that ask a run to stop, as a value to poll.

namespace ballast::checkpoint {

/// Ordered: the largest over all ranks is what the job does (one all_reduce with kMax).
enum class StopRequest : int { kNone = 0, kSaveAndStop = 1, kStopNow = 2 };

/// Listens while it lives: SIGTERM and SIGUSR1 ask to save and stop; SIGINT does so once, and asks to stop now the second time.
/// The handler sets atomics and nothing else; the former handlers come back at the end.
/// Throws: std::logic_error when one already lives in this process; std::runtime_error when a handler cannot be installed.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  /// The strongest request so far. Cost: one atomic read.
  StopRequest requested() const;
  /// The signal that came last ("SIGTERM"), "none" before the first: for the message and status.json.
  const char* name() const;
};

}  // namespace ballast::checkpoint
