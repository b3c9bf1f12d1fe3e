#include "scheduler/policy/water_fill.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ballast::scheduler {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;

TEST(WaterFill, FillsTheLowestFirst) {
  const std::vector<double> contents{1, 4, 2}, widths{1, 1, 1}, rooms{10, 10, 0.5};
  const Poured poured = pour(4, contents, widths, rooms);
  EXPECT_THAT(poured.added, ElementsAre(DoubleNear(3.25, 1e-12), DoubleNear(0.25, 1e-12), DoubleNear(0.5, 1e-12)));
  EXPECT_DOUBLE_EQ(poured.level, 4.25);
  EXPECT_DOUBLE_EQ(pour(100, contents, widths, rooms).left_over, 79.5);
}

TEST(WaterFill, WideVesselsTakeMore) {
  const std::vector<double> contents{0, 0}, widths{1, 3}, rooms{100, 100};
  EXPECT_THAT(pour(8, contents, widths, rooms).added, ElementsAre(DoubleNear(2, 1e-12), DoubleNear(6, 1e-12)));
}

}  // namespace
}  // namespace ballast::scheduler
