#pragma once
// The commands that need torch or the other ranks; each is launch/commands/<name>.cpp and a row here.
#include <string_view>
#include <variant>
#include <vector>

#include "launch/command.h"
#include "runtime/comm/communicator.h"

namespace ballast::launch {

/// Called on all ranks. Returns: the exit code, the same on all ranks.
using RunInWorld = int (*)(const CommandLine&, comm::Communicator& world);
/// Called without entering a world. Returns: the exit code.
using RunAlone = int (*)(const CommandLine&);

struct RuntimeCommand {
  std::string_view name;
  std::variant<RunInWorld, RunAlone> run;
};

int run_train(const CommandLine& line, comm::Communicator& world);
int run_eval(const CommandLine& line, comm::Communicator& world);
int run_generate(const CommandLine& line, comm::Communicator& world);
int run_bench(const CommandLine& line, comm::Communicator& world);
int run_doctor(const CommandLine& line);

inline const std::vector<RuntimeCommand>& runtime_commands() {
  static const std::vector<RuntimeCommand> table = {
      {"train", run_train}, {"eval", run_eval}, {"generate", run_generate}, {"bench", run_bench}, {"doctor", run_doctor}};
  return table;
}

}  // namespace ballast::launch
