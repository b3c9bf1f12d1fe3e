#pragma once
// The one walk through a rank's program; runtime and simulator both use it.
#include <optional>
#include <vector>

#include "scheduler/plan/plan.h"

namespace ballast::scheduler {

/// Hands out the instructions of a program whose dependencies are finished, lowest index first.
class ProgramCursor {
 public:
  /// `program` must outlive the cursor.
  /// Throws: std::invalid_argument when a dependency does not come before its instruction.
  explicit ProgramCursor(const RankProgram& program);

  /// The next instruction that may start, or nothing while all startable ones are running (or all are done).
  std::optional<int> next();
  /// Marks an instruction that next() gave as finished.
  /// Throws: std::logic_error for one that is not running.
  void finish(int instruction);
  bool is_done() const { return num_finished_ == static_cast<int>(state_.size()); }
  const Instruction& operator[](int instruction) const { return (*program_)[instruction]; }

 private:
  enum class State : char { kWaiting, kRunning, kFinished };
  const RankProgram* program_;
  std::vector<State> state_;
  int num_finished_ = 0;
  int first_waiting_ = 0;
};

}  // namespace ballast::scheduler
