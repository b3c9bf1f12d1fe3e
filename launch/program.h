#pragma once
// What the programs have in common: a command line goes in, an exit code comes out.
#include "launch/command.h"

namespace ballast::launch {

/// Parses the command line, prints the text that it asks for or calls `run`, and turns an error into its message and exit code.
/// Returns: the exit code of the process.
int run_program(int argc, char** argv, int (*run)(const Invocation& invocation, char** argv));

}  // namespace ballast::launch
