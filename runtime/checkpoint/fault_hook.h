#pragma once
// Failure on purpose, for tests of what survives it.
#include <string>

namespace ballast::checkpoint {

/// What happens at the n-th system call by which this process changes files (1 = the first), counted from here.
/// `spec`: "kill:N" ends the process with SIGKILL before the call; "ENOSPC:N" and "EIO:N" make the call fail; "" does nothing.
/// The environment variable BALLAST_TEST_FAULT gives the spec from the start of the process; only tests set it.
/// Throws: std::invalid_argument for another spec.
void set_fault(const std::string& spec);

/// Whether a fault is set that has not happened yet.
bool is_fault_pending();

/// Called before every such system call. Returns: the error number it must fail with, 0 to go on.
int fault_before_call();

}  // namespace ballast::checkpoint
