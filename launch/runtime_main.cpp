// The sibling of `ballast` that loads torch and MPI: it enters the world of ranks and runs one command in it.
#include <fmt/format.h>

#include <iostream>

#include "launch/command.h"
#include "launch/exit_code.h"
#include "launch/runtime_commands.h"
#include "runtime/comm/world.h"

namespace ballast::launch {
namespace {

/// Runs a command on all ranks. A rank that fails says why and ends the job, so that its peers do not wait for it.
int run_in_world(const RuntimeCommand& command, const CommandLine& line) {
  const std::unique_ptr<comm::World> world = comm::open_world(comm::backends().front().name);
  try {
    const int code = command.run(line, world->communicator());
    world->finish();
    return code;
  } catch (const std::exception& error) {
    const int rank = world->communicator().rank();
    if (world->communicator().size() == 1) throw;
    std::cerr << fmt::format("rank {}: {}", rank, error.what()) << std::endl;
    comm::abort_job(static_cast<int>(exit_code_of(error)));
  }
}

int run(int argc, char** argv) {
  const Invocation invocation = parse_command_line({argv + 1, argv + argc}, std::cout, std::cerr);
  if (!invocation.text.empty()) {
    std::cout << invocation.text;
    return 0;
  }
  if (invocation.command->name == "doctor") return run_doctor(invocation.line);  // also where there is no world to enter
  for (const RuntimeCommand& command : runtime_commands()) {
    if (command.name == invocation.command->name) return run_in_world(command, invocation.line);
  }
  throw UsageError(fmt::format("ballast-runtime does not know '{}'; call ballast", invocation.command->name));
}

}  // namespace
}  // namespace ballast::launch

int main(int argc, char** argv) {
  try {
    return ballast::launch::run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << error.what() << std::endl;
    return static_cast<int>(ballast::launch::exit_code_of(error));
  }
}
