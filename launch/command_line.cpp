#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "build_constants.h"
#include "launch/command.h"

namespace ballast::launch {
namespace {

struct FlagRow {
  Flag flag;
  const char* name;
  const char* value;  // what follows the name; empty: nothing
  const char* help;
  void (*add)(CLI::App&, const char* name, CommandLine&);
};

template <auto Member>
void add_value(CLI::App& app, const char* name, CommandLine& line) {
  app.add_option(name, line.*Member);
}
template <auto Member>
void add_switch(CLI::App& app, const char* name, CommandLine& line) {
  app.add_flag(name, line.*Member);
}
void add_set(CLI::App& app, const char* name, CommandLine& line) {
  // One value each time, or the positional arguments that follow would be taken for more assignments.
  app.add_option(name, line.set)->allow_extra_args(false);
}
void add_world(CLI::App& app, const char* name, CommandLine& line) {
  app.add_option(name, line.world)->check(CLI::Range(1, 1 << 20));
}

constexpr FlagRow kFlags[] = {
    {Flag::kSet, "--set", "PATH=VALUE", "set a field of the run, over all files; may be repeated", add_set},
    {Flag::kJson, "--json", "", "machine-readable output", add_switch<&CommandLine::json>},
    {Flag::kWorld, "--world", "N", "number of ranks to plan or check for", add_world},
    {Flag::kOut, "--out", "PATH", "file or folder to write", add_value<&CommandLine::out_path>},
    {Flag::kResume, "--resume", "", "go on from the newest checkpoint of the run folder", add_switch<&CommandLine::resume>},
    {Flag::kPolicy, "--policy", "NAME", "way of placing sequences, instead of the run's", add_value<&CommandLine::policy>},
    {Flag::kReport, "--report", "FILE", "draw the picture into this file", add_value<&CommandLine::report_path>},
    {Flag::kCluster, "--cluster", "FILE", "cluster file, instead of the run's", add_value<&CommandLine::cluster_path>},
    {Flag::kModel, "--model", "FILE", "model file, instead of the run's", add_value<&CommandLine::model_path>},
    {Flag::kLengths, "--lengths", "FILE", "sequence lengths, instead of the run's data", add_value<&CommandLine::lengths_path>},
    {Flag::kFormat, "--format", "NAME", "form of the output", add_value<&CommandLine::format>},
    {Flag::kBench, "--bench", "", "measure too", add_switch<&CommandLine::bench>},
    {Flag::kTopology, "--topology", "", "show devices, network cards and the chosen map", add_switch<&CommandLine::topology>},
};

std::string version_text() {
  return fmt::format("ballast {} ({}, {}, {}{}{}; torch {}, MPI {}, CUDA {})\n", build::kVersion, build::kCommit,
                     build::kBuildType, build::kCompiler, *build::kSanitizer ? ", sanitizer " : "", build::kSanitizer,
                     build::kTorch ? build::kTorchVersion : "no", build::kMpi ? "yes" : "no", build::kCuda ? "yes" : "no");
}

std::string overview() {
  std::string text = "ballast: balanced training of language models on clusters\n\nballast <command> [arguments] [flags]\n\n";
  for (const Command& command : commands()) text += fmt::format("  {:<12}{}\n", command.name, command.summary);
  return text + "\n  --help      after a command: its arguments and flags\n  --version   version, commit and build\n";
}

/// The row's entry of a flag; nullptr: the command does not take it.
const CommandFlag* find_flag(const Command& command, Flag flag) {
  const auto found =
      std::find_if(command.flags.begin(), command.flags.end(), [&](const CommandFlag& taken) { return taken.flag == flag; });
  return found == command.flags.end() ? nullptr : &*found;
}

std::string help(const Command& command) {
  std::string text = fmt::format("ballast {} {}\n\n{}\n\n", command.name, command.arguments, command.summary);
  for (const FlagRow& row : kFlags) {
    const CommandFlag* flag = find_flag(command, row.flag);
    if (!flag) continue;
    text += fmt::format("  {:<22}{}\n", fmt::format("{} {}", row.name, row.value), flag->help.empty() ? row.help : flag->help);
  }
  text += fmt::format("  {:<22}{}\n", "--help", "this text");
  return command.notes ? text + "\n" + command.notes() : text;
}

/// The usage line is the rule: each word, or <name>, is an argument; [name] may be left out; ... stands for more of them.
void check_arguments(const Command& command, const CommandLine& line) {
  std::size_t fewest = 0;
  std::size_t most = 0;
  for (std::string_view rest = command.arguments; !rest.empty();) {
    const char end = rest[0] == '<' ? '>' : rest[0] == '[' ? ']' : ' ';
    if (rest[0] != '[') ++fewest;
    ++most;
    rest.remove_prefix(std::min(rest.find(end), rest.size() - 1) + 1);
    while (rest.starts_with(' ')) rest.remove_prefix(1);
  }
  if (command.arguments.find("...") != std::string_view::npos) most = std::string_view::npos;
  if (line.arguments.size() < fewest || line.arguments.size() > most) {
    throw UsageError(fmt::format("usage: ballast {} {}; got {} argument{}", command.name, command.arguments,
                                 line.arguments.size(), line.arguments.size() == 1 ? "" : "s"));
  }
}

const Command& find_command(const std::string& name) {
  std::string known;
  for (const Command& command : commands()) {
    if (command.name == name) return command;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", command.name);
  }
  throw UsageError(fmt::format("unknown command \"{}\"; choose one of {}", name, known));
}

}  // namespace

Invocation parse_command_line(const std::vector<std::string>& arguments, std::ostream& output, std::ostream& errors) {
  Invocation invocation;
  CommandLine& line = invocation.line;
  line.output = &output;
  line.errors = &errors;
  if (arguments.empty()) throw UsageError("no command given\n\n" + overview());
  if (arguments[0] == "--help") return {nullptr, line, overview()};
  if (arguments[0] == "--version") return {nullptr, line, version_text()};

  const Command& command = find_command(arguments[0]);
  invocation.command = &command;
  CLI::App app;
  app.set_help_flag("--help");
  for (const FlagRow& row : kFlags) {
    if (find_flag(command, row.flag)) row.add(app, row.name, line);
  }
  app.add_option("arguments", line.arguments);
  try {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend() - 1));
    check_arguments(command, line);
  } catch (const CLI::CallForHelp&) {
    invocation.text = help(command);
  } catch (const CLI::ParseError& error) {
    throw UsageError(fmt::format("ballast {}: {}; see ballast {} --help. Options of a run are fields: --set path=value",
                                 command.name, error.what(), command.name));
  }
  return invocation;
}

}  // namespace ballast::launch
