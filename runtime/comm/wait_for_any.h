#pragma once
// Waiting for whichever of several operations is finished first.
#include <chrono>
#include <span>

#include "runtime/comm/communicator.h"

namespace ballast::comm {

/// Returns when one of `pending` is finished. Input: at least one; `deadline` is that of their communicators.
/// Throws: DeadlineError when the deadline passes first, with the text of the first of them.
void wait_for_any(std::span<Pending* const> pending, std::chrono::duration<double> deadline);

}  // namespace ballast::comm
