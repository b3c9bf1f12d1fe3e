#pragma once
// What a long command is at.
#include <iosfwd>
#include <string>

namespace ballast::launch {

/// On a terminal one line that is written over, gone when something else is printed; in a log a line for each stage.
class ProgressLine {
 public:
  /// Whether `out` is a terminal is found out; std::cerr alone can be one.
  explicit ProgressLine(std::ostream& out);
  ProgressLine(std::ostream& out, bool is_terminal) : out_(out), is_terminal_(is_terminal) {}
  /// Clears, so that an error which ends the command begins a line.
  ~ProgressLine() { clear(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  /// `step` is shown on a terminal alone.
  void show(const std::string& stage, const std::string& step);
  /// To be called before anything else is printed on the terminal.
  void clear();
  /// A line that stays.
  void note(const std::string& text);

 private:
  std::ostream& out_;
  bool is_terminal_;
  std::string stage_;
  std::size_t num_shown_ = 0;  // characters of the line that is there
};

}  // namespace ballast::launch
