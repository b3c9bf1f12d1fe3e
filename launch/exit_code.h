#pragma once
// From an error to the code that the process ends with.
#include <exception>

#include "runtime/checkpoint/exit_code.h"

namespace ballast::launch {

using checkpoint::ExitCode;

/// The class of an error decides: the caller is wrong, the world is wrong (which part of it), or we are.
ExitCode exit_code_of(const std::exception& error);

}  // namespace ballast::launch
