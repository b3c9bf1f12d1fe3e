#pragma once
// The file of results with which a long grid goes on where it was cut.
#include <cstdint>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "launch/planner_result.h"

namespace ballast::launch {

/// Results in a file, one line each. Lines are added and none is ever changed: results of other inputs stay beside the new ones,
/// told apart by `inputs`.
class PlannerResultFile {
 public:
  /// An empty path keeps nothing. `note` is told, in sentences without an end of line, what of the file is not used and why.
  /// A last line that was cut while it was written goes.
  /// Throws: std::invalid_argument for a file that holds something else, which is left as it is; std::runtime_error if it cannot
  /// be written.
  PlannerResultFile(std::string path, std::function<void(const std::string&)> note);

  /// The newest result of the same names and inputs; nullptr: none.
  const PlannerResult* find(const PlannerResult& wanted);

  /// Throws: std::runtime_error.
  void add(const PlannerResult& result);

 private:
  /// Whether the text, a line without its end, is a result.
  bool read_line(const std::string& line);
  void note_age();

  std::string path_;
  std::function<void(const std::string&)> note_;
  std::map<std::pair<std::string, std::uint64_t>, PlannerResult> known_;  // by names and inputs
  std::map<std::string, int> line_of_names_;                              // a line with these names, of any inputs
  int num_lines_ = 0, num_without_inputs_ = 0;
  bool has_said_other_inputs_ = false;
  std::ofstream file_;
};

}  // namespace ballast::launch
