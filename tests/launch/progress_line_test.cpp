#include "launch/progress_line.h"

#include <gtest/gtest.h>

#include <sstream>

namespace ballast::launch {
namespace {

TEST(ProgressLine, WritesOverItselfOnATerminal) {
  std::ostringstream out;
  {
    ProgressLine line(out, true);
    line.show("cell 1", "seed 0");
    EXPECT_EQ(out.str(), "cell 1, seed 0");
    line.show("cell 1", "seed 1");
    EXPECT_TRUE(out.str().ends_with("\r              \rcell 1, seed 1"));
    out.str("");
    line.note("kept");
    EXPECT_EQ(out.str(), "\r              \rkept\n");
    line.show("cell 2", "x");
    out.str("");
  }
  // An error that ends the command begins a line.
  EXPECT_EQ(out.str(), "\r         \r");
}

TEST(ProgressLine, IsALineForEachStageInALog) {
  std::ostringstream out;
  {
    ProgressLine line(out);
    for (const char* step : {"seed 0", "seed 1"}) line.show("cell 1", step);
    line.clear();
    line.note("kept");
    line.show("cell 2", "seed 0");
  }
  EXPECT_EQ(out.str(), "cell 1\nkept\ncell 2\n");
}

}  // namespace
}  // namespace ballast::launch
