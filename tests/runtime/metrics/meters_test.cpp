#include "runtime/metrics/meters.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "runtime/metrics/expert_load.h"
#include "runtime/metrics/host_memory.h"
#include "runtime/metrics/throughput.h"

namespace ballast::metrics {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(Median, OfOddAndEvenCounts) {
  EXPECT_EQ(median(std::vector<double>{3, 1, 2}), 2);
  EXPECT_EQ(median(std::vector<double>{4, 1, 3, 2}), 2.5);
  EXPECT_EQ(median(std::vector<double>{7}), 7);
  EXPECT_THROW(median(std::vector<double>{}), std::logic_error);
}

TEST(MaxOverMean, IsUnknownWithoutLoad) {
  EXPECT_EQ(max_over_mean(std::vector<double>{1, 1, 4}), 2.0);
  EXPECT_EQ(max_over_mean(std::vector<double>{0, 0}), std::nullopt);
  EXPECT_EQ(max_over_mean(std::vector<double>{}), std::nullopt);
}

TEST(FiniteWindow, ZScoreIsInStandardDeviationsOfTheWindow) {
  FiniteWindow window(128);
  for (int i = 0; i < 4; ++i) {
    window.add(1);
    window.add(3);
  }
  EXPECT_EQ(window.z_score(2), 0.0);
  EXPECT_EQ(window.z_score(5), 3.0);  // mean 2, deviation 1
  EXPECT_EQ(window.z_score(-1), -3.0);
}

TEST(FiniteWindow, ZScoreWantsEightFiniteValues) {
  FiniteWindow window(128);
  for (int i = 0; i < 7; ++i) window.add(i);
  window.add(kNan);
  window.add(kInfinity);
  EXPECT_EQ(window.size(), 7u);
  EXPECT_EQ(window.z_score(1), std::nullopt);
  window.add(7);
  EXPECT_TRUE(window.z_score(1).has_value());
  EXPECT_EQ(window.z_score(kNan), std::nullopt);
}

TEST(FiniteWindow, EqualValuesMakeAnyOtherInfinitelyFar) {
  FiniteWindow window(128);
  for (int i = 0; i < 10; ++i) window.add(0.1);
  EXPECT_EQ(window.z_score(0.1), 0.0);
  EXPECT_EQ(window.z_score(0.2), kInfinity);
  EXPECT_EQ(window.z_score(0.0), -kInfinity);
}

TEST(FiniteWindow, KeepsTheNewest) {
  FiniteWindow window(3);
  for (const double value : {100., 1., 2., 3.}) window.add(value);
  EXPECT_EQ(window.size(), 3u);
  EXPECT_EQ(window.median(), 2);
}

TEST(ExpertLoad, JudgesTheWorstMicroBatchAndSumsAll) {
  ExpertLoad load;
  load.add(std::vector<std::int64_t>{5, 3, 0, 0});  // minimum 2, mean 2
  load.add(std::vector<std::int64_t>{1, 3, 2, 3});  // 9 rows: minimum 3
  load.add(std::vector<std::int64_t>{0, 0, 0, 0});
  EXPECT_EQ(load.rows_E, (std::vector<std::int64_t>{6, 6, 2, 3}));
  EXPECT_EQ(load.above_minimum, 3);
  EXPECT_EQ(load.max_over_mean, 2.5);
  EXPECT_EQ(load.num_dead(), 0);
}

TEST(ExpertLoad, ExactBalanceIsNothingAboveTheMinimum) {
  ExpertLoad load;
  load.add(std::vector<std::int64_t>{3, 2, 3, 2});
  EXPECT_EQ(load.above_minimum, 0);
  EXPECT_EQ(load.max_over_mean, 1.2);
}

TEST(ExpertLoad, JoinsAndCountsDeadExperts) {
  ExpertLoad first, second;
  first.add(std::vector<std::int64_t>{4, 0, 0});
  second.add(std::vector<std::int64_t>{1, 0, 2});
  first.add(second);
  first.add(ExpertLoad{});
  EXPECT_EQ(first.rows_E, (std::vector<std::int64_t>{5, 0, 2}));
  EXPECT_EQ(first.num_dead(), 1);
  EXPECT_EQ(first.above_minimum, 2);
  EXPECT_THROW(first.add(std::vector<std::int64_t>{1, 2}), std::logic_error);
}

TEST(Throughput, IsUnknownWithoutAPeak) {
  EXPECT_EQ(model_flops_utilization(30, 2, 60), 0.25);
  EXPECT_EQ(model_flops_utilization(30, 2, 0), std::nullopt);
  EXPECT_EQ(model_flops_utilization(30, 0, 60), std::nullopt);
  EXPECT_EQ(model_flops_utilization(30, 2, kNan), std::nullopt);
}

TEST(HostMemory, GrowsWithWhatIsTouched) {
  const HostMemory before = host_memory();
  EXPECT_GT(before.resident_bytes, 1 << 20);
  constexpr std::size_t kBytes = 64 << 20;
  std::vector<char> touched(kBytes, 1);
  const HostMemory after = host_memory();
  EXPECT_GE(after.resident_bytes, before.resident_bytes + static_cast<std::int64_t>(kBytes / 2)) << touched[kBytes / 2];
  EXPECT_GE(after.peak_resident_bytes, after.resident_bytes);
}

}  // namespace
}  // namespace ballast::metrics
