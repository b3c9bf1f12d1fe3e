// The program that users, mpirun and srun see. It loads neither torch nor MPI; commands that need them run in ballast-runtime.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "launch/program.h"

namespace ballast::launch {
namespace {

/// Becomes the sibling executable; returns only by throwing.
void exec_runtime(std::string_view command, char** argv) {
  const std::filesystem::path sibling = std::filesystem::read_symlink("/proc/self/exe").replace_filename("ballast-runtime");
  execv(sibling.c_str(), argv);
  const int reason = errno;
  if (reason == ENOENT) {
    throw std::runtime_error(
        fmt::format("ballast {} runs in {}, which was not built: it needs LibTorch; run launch/setup.sh and build again", command,
                    sibling.string()));
  }
  throw std::runtime_error(fmt::format("cannot start {}: {}", sibling.string(), std::strerror(reason)));
}

int run(const Invocation& invocation, char** argv) {
  const Command& command = *invocation.command;
  if (!command.run || (command.runs_here && !command.runs_here(invocation.line))) exec_runtime(command.name, argv);
  return command.run(invocation.line);
}

}  // namespace
}  // namespace ballast::launch

int main(int argc, char** argv) { return ballast::launch::run_program(argc, argv, ballast::launch::run); }
