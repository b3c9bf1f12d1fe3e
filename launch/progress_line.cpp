#include "launch/progress_line.h"

#include <unistd.h>

#include <iostream>

namespace ballast::launch {
namespace {

/// A longer line would be wrapped, and then not written over.
constexpr std::size_t kWidth = 100;

}  // namespace

ProgressLine::ProgressLine(std::ostream& out) : ProgressLine(out, &out == &std::cerr && isatty(STDERR_FILENO) == 1) {}

void ProgressLine::show(const std::string& stage, const std::string& step) {
  if (is_terminal_) {
    clear();
    const std::string line = (stage + ", " + step).substr(0, kWidth);
    out_ << line << std::flush;
    num_shown_ = line.size();
  } else if (stage != stage_) {
    out_ << stage << std::endl;
  }
  stage_ = stage;
}

void ProgressLine::clear() {
  if (num_shown_ == 0) return;
  out_ << '\r' << std::string(num_shown_, ' ') << '\r' << std::flush;
  num_shown_ = 0;
}

void ProgressLine::note(const std::string& text) {
  clear();
  out_ << text << std::endl;
}

}  // namespace ballast::launch
