#include "runtime/metrics/svg_plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <regex>

namespace ballast::metrics {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::size_t count(const std::string& text, const std::string& pattern) {
  const std::regex expression(pattern);
  return static_cast<std::size_t>(std::distance(std::sregex_iterator(text.begin(), text.end(), expression), {}));
}

TEST(LinePlot, InterruptsTheLineAtWhatIsNotFinite) {
  const std::string plot = svg(LinePlot{"t", "x", "y", {{"a", {1, 2, 3, 4, 5}, {1, 2, kNan, 2, 1}}}});
  EXPECT_EQ(count(plot, "<polyline"), 2u);
  EXPECT_THAT(plot, Not(HasSubstr("nan")));
}

TEST(LinePlot, PointsLieInsideTheFrameAndGrowUpwards) {
  const std::string plot = svg(LinePlot{"t", "x", "y", {{"a", {0, 10}, {-5, 5}}}});
  std::smatch match;
  ASSERT_TRUE(std::regex_search(plot, match, std::regex("points=\"([0-9.]+),([0-9.]+) ([0-9.]+),([0-9.]+) \"")));
  EXPECT_EQ(std::stod(match[1]), 58);
  EXPECT_EQ(std::stod(match[3]), 548);
  EXPECT_GT(std::stod(match[2]), std::stod(match[4]));
}

TEST(LinePlot, ManyPointsBecomeMeansOverABand) {
  Series series{"a", {}, {}};
  for (int i = 0; i < 5000; ++i) {
    series.x.push_back(i);
    series.y.push_back(i % 2);
  }
  const std::string plot = svg(LinePlot{"t", "x", "y", {series}});
  EXPECT_EQ(count(plot, "<polygon"), 1u);
  EXPECT_LT(plot.size(), 60'000u);
}

TEST(LinePlot, LogarithmicAxisIsLabelledInTheValuesUnit) {
  const std::string plot = svg(LinePlot{"t", "x", "y", {{"a", {1, 2, 3}, {0.01, 0, 100}}}, true});
  EXPECT_THAT(plot, HasSubstr(">0.01</text>"));
  EXPECT_THAT(plot, HasSubstr(">100</text>"));
  EXPECT_EQ(count(plot, "<circle"), 2u);  // zero has no logarithm and parts the two
}

TEST(LinePlot, SaysWhenThereIsNothing) {
  EXPECT_THAT(svg(LinePlot{"t", "x", "y", {}}), HasSubstr("no values"));
  EXPECT_THAT(svg(LinePlot{"t", "x", "y", {{"a", {1}, {kNan}}}}), HasSubstr("no values"));
  EXPECT_THAT(svg(LinePlot{"t", "x", "y", {{"a", {1}, {3}}}}), HasSubstr("<circle"));
}

TEST(HeatMap, ColoursCellsByTheirDistanceFromOne) {
  const std::string map = svg(HeatMap{"t", "step", "expert", 1, 3, {{0, 1, 2}, {kNan, 5, 1}}});
  EXPECT_EQ(count(map, "<title>"), 6u);
  EXPECT_EQ(count(map, "#1f6fb4"), 1u);  // empty
  EXPECT_EQ(count(map, "#ffffff"), 2u);  // the mean
  EXPECT_EQ(count(map, "#c02b2b"), 2u);  // twice the mean and beyond
  EXPECT_EQ(count(map, "#cccccc"), 1u);  // unknown
  EXPECT_THAT(svg(HeatMap{"t", "x", "y", 0, 1, {}}), HasSubstr("no values"));
}

TEST(LinePlot, ATitleLeavesNoMarkup) {
  EXPECT_THAT(svg(LinePlot{"<script>", "x", "y", {}}), Not(HasSubstr("<script>")));
}

}  // namespace
}  // namespace ballast::metrics
