#include "scheduler/plan/cursor.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

namespace ballast::scheduler {

ProgramCursor::ProgramCursor(const RankProgram& program) : program_(&program), state_(program.size(), State::kWaiting) {
  for (std::size_t i = 0; i < program.size(); ++i) {
    for (const int before : program[i].after) {
      if (before < 0 || before >= static_cast<int>(i)) {
        throw std::invalid_argument(
            fmt::format("program: instruction {} waits for {}, which does not come before it", i, before));
      }
    }
  }
}

std::optional<int> ProgramCursor::next() {
  while (first_waiting_ < static_cast<int>(state_.size()) && state_[first_waiting_] != State::kWaiting) ++first_waiting_;
  for (int i = first_waiting_; i < static_cast<int>(state_.size()); ++i) {
    if (state_[i] != State::kWaiting) continue;
    const std::vector<int>& after = (*program_)[i].after;
    if (std::all_of(after.begin(), after.end(), [&](int before) { return state_[before] == State::kFinished; })) {
      state_[i] = State::kRunning;
      return i;
    }
  }
  return std::nullopt;
}

void ProgramCursor::finish(int instruction) {
  if (instruction < 0 || instruction >= static_cast<int>(state_.size()) || state_[instruction] != State::kRunning) {
    throw std::logic_error(fmt::format("program: instruction {} is finished but was not running", instruction));
  }
  state_[instruction] = State::kFinished;
  ++num_finished_;
}

}  // namespace ballast::scheduler
