#pragma once
// What a command of `ballast` is: its row in the table, and the parsed line that it gets.
#include <iosfwd>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace ballast::launch {

/// All flags that exist. There will be no others: an option is a field of the config message of the component that reads it.
enum class Flag { kSet, kJson, kWorld, kOut, kResume, kPolicy, kReport, kCluster, kModel, kLengths, kFormat, kBench, kTopology };

/// A parsed command line. Flags that the command's row does not list keep their defaults.
struct CommandLine {
  std::vector<std::string> arguments;  ///< positional, in order
  std::vector<std::string> set;        ///< --set path=value, in order
  bool json = false;                   ///< --json: machine-readable output
  std::optional<int> world;            ///< --world: number of ranks to plan or check for
  std::string out_path;                ///< --out: file or folder that the command writes
  bool resume = false;                 ///< --resume: go on from the newest checkpoint of the run folder
  std::string policy;                  ///< --policy: way of placing sequences, instead of the run's
  std::string report_path;             ///< --report: file of the picture
  std::string cluster_path;            ///< --cluster: cluster file
  std::string model_path;              ///< --model: model file
  std::string lengths_path;            ///< --lengths: file of sequence lengths
  std::string format;                  ///< --format: form of the output
  bool bench = false;                  ///< --bench: measure too
  bool topology = false;               ///< --topology: show GPUs, cards and the chosen map

  std::ostream* output = nullptr;  ///< what the command answers; never null
  std::ostream* errors = nullptr;  ///< what it says about its work; never null
};

/// The command line is wrong. The text names the flag or argument and what was wanted.
class UsageError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

/// A flag that a command takes, and what it means there if that is more than the table of flags says. A bare flag is one, too.
struct CommandFlag {
  CommandFlag(Flag which, std::string_view meaning = {}) : flag(which), help(meaning) {}
  Flag flag;
  std::string_view help;
};

/// A row of the table of commands.
struct Command {
  std::string_view name;
  std::string_view arguments;      ///< the usage line, and the rule: "step <run.textproto> [file...]"; empty: takes none
  std::string_view summary;        ///< one line
  std::vector<CommandFlag> flags;  ///< besides --help
  /// Returns the exit code. nullptr: the command needs torch and lives in ballast-runtime (runtime_main.cpp).
  int (*run)(const CommandLine&);
  /// Whether `run` takes this line, while ballast-runtime has the others; nullptr: all.
  bool (*runs_here)(const CommandLine&) = nullptr;
  std::string (*notes)() = nullptr;  ///< what --help says below the flags; nullptr: nothing
};

/// Every command in the order of the overview, those of ballast-runtime included.
const std::vector<Command>& commands();

/// What a command line asks for: a text to print (--help, --version), or a command to run.
struct Invocation {
  const Command* command = nullptr;
  CommandLine line;
  std::string text;
};

/// Parses the arguments after the program's name.
/// Throws: UsageError.
Invocation parse_command_line(const std::vector<std::string>& arguments, std::ostream& output, std::ostream& errors);

}  // namespace ballast::launch
