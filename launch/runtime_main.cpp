// The sibling of `ballast` that loads torch and MPI: it runs one command, in the world of ranks where the command wants that.
#include <fmt/format.h>

#include <iostream>

#include "launch/exit_code.h"
#include "launch/program.h"
#include "launch/runtime_commands.h"
#include "runtime/comm/world.h"

namespace ballast::launch {
namespace {

/// Runs a command on all ranks. A rank that fails says why and ends the job, so that its peers do not wait for it.
int run_in_world(RunInWorld run, const CommandLine& line) {
  const std::unique_ptr<comm::World> world = comm::open_world(comm::backends().front().name);
  try {
    const int code = run(line, world->communicator());
    world->finish();
    return code;
  } catch (const std::exception& error) {
    const int rank = world->communicator().rank();
    if (world->communicator().size() == 1) throw;
    std::cout << std::flush;
    std::cerr << fmt::format("rank {}: {}", rank, error.what()) << std::endl;
    comm::abort_job(static_cast<int>(exit_code_of(error)));
  }
}

int run(const Invocation& invocation, char**) {
  for (const RuntimeCommand& command : runtime_commands()) {
    if (command.name != invocation.command->name) continue;
    if (const RunAlone* run_alone = std::get_if<RunAlone>(&command.run)) return (*run_alone)(invocation.line);
    return run_in_world(std::get<RunInWorld>(command.run), invocation.line);
  }
  throw UsageError(fmt::format("ballast-runtime does not know '{}'; call ballast", invocation.command->name));
}

}  // namespace
}  // namespace ballast::launch

int main(int argc, char** argv) { return ballast::launch::run_program(argc, argv, ballast::launch::run); }
