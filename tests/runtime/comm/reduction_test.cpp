#include "runtime/comm/reduction.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <random>

namespace ballast::comm {
namespace {

template <class T>
T reduced(Dtype dtype, ReduceOp op, const std::vector<T>& by_rank) {
  std::vector<const void*> sources;
  for (const T& value : by_rank) sources.push_back(&value);
  T result{};
  reduce_in_rank_order(sources, &result, 1, dtype, op);
  return result;
}

TEST(Reduction, IntegersWrap) {
  EXPECT_EQ(reduced<std::uint8_t>(Dtype::kUint8, ReduceOp::kSum, {200, 100}), 44);
  EXPECT_EQ(reduced<std::int32_t>(Dtype::kInt32, ReduceOp::kSum, {std::numeric_limits<std::int32_t>::max(), 1}),
            std::numeric_limits<std::int32_t>::min());
  EXPECT_EQ(reduced<std::int64_t>(Dtype::kInt64, ReduceOp::kSum, {std::numeric_limits<std::int64_t>::min(), -1}),
            std::numeric_limits<std::int64_t>::max());
}

TEST(Reduction, IntegersAbove53BitsAreExact) {
  const std::int64_t large = (std::int64_t{1} << 60) + 1;
  EXPECT_EQ(reduced<std::int64_t>(Dtype::kInt64, ReduceOp::kSum, {large, 1}), large + 1);
  EXPECT_EQ(reduced<std::int64_t>(Dtype::kInt64, ReduceOp::kMax, {large, large - 1}), large);
  EXPECT_EQ(reduced<std::int64_t>(Dtype::kInt64, ReduceOp::kMin, {large, large - 1}), large - 1);
}

TEST(Reduction, SumsFromTheFirstRankOn) {
  EXPECT_EQ(reduced<double>(Dtype::kFloat64, ReduceOp::kSum, {1e16, 1.0, -1e16}), 0.0);
  EXPECT_EQ(reduced<double>(Dtype::kFloat64, ReduceOp::kSum, {1e16, -1e16, 1.0}), 1.0);
}

TEST(Reduction, NanOfAnyRankWins) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kMax, ReduceOp::kMin}) {
    EXPECT_TRUE(std::isnan(reduced<float>(Dtype::kFloat32, op, {nan, 1.0F, 2.0F}))) << name(op);
    EXPECT_TRUE(std::isnan(reduced<float>(Dtype::kFloat32, op, {1.0F, nan, 2.0F}))) << name(op);
    EXPECT_TRUE(std::isnan(reduced<double>(Dtype::kFloat64, op, {1.0, 2.0, double{nan}}))) << name(op);
    EXPECT_GT(reduced<std::uint16_t>(Dtype::kBfloat16, op, {0x3f80, 0x7fff}) & 0x7fff, 0x7f80) << name(op);
  }
}

TEST(Reduction, Bfloat16IsSummedInFloat32AndRoundedOnceToNearestEven) {
  const auto bf16 = [](float value) { return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16); };
  // 256 + 1 + 1: each step alone would round back to 256 (the spacing there is 2).
  EXPECT_EQ(reduced<std::uint16_t>(Dtype::kBfloat16, ReduceOp::kSum, {bf16(256), bf16(1), bf16(1)}), bf16(258));
  // 257 lies between 256 and 258: to the even one, 256; 259 to 260.
  EXPECT_EQ(reduced<std::uint16_t>(Dtype::kBfloat16, ReduceOp::kSum, {bf16(256), bf16(1)}), bf16(256));
  EXPECT_EQ(reduced<std::uint16_t>(Dtype::kBfloat16, ReduceOp::kSum, {bf16(258), bf16(1)}), bf16(260));
  EXPECT_EQ(reduced<std::uint16_t>(Dtype::kBfloat16, ReduceOp::kSum, {0x7f7f, 0x7f7f}), 0x7f80) << "overflow is infinity";
}

// The element alone decides, wherever the range is cut, and the result may be one of the sources.
TEST(Reduction, PiecesEqualTheWhole) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0.0F, 100.0F);
  constexpr std::size_t kCount = 3001;
  std::array<std::vector<float>, 3> ranks;
  for (auto& rank : ranks) {
    for (std::size_t i = 0; i < kCount; ++i) rank.push_back(normal(random));
  }
  std::vector<float> whole(kCount);
  reduce_in_rank_order(std::vector<const void*>{ranks[0].data(), ranks[1].data(), ranks[2].data()}, whole.data(), kCount,
                       Dtype::kFloat32, ReduceOp::kSum);
  for (std::size_t i = 0; i < kCount; ++i) ASSERT_EQ(whole[i], ranks[0][i] + ranks[1][i] + ranks[2][i]) << i;
  for (const std::size_t cut : {std::size_t{1}, std::size_t{513}, std::size_t{2999}}) {
    auto in_place = ranks;
    const auto reduce = [&](std::size_t begin, std::size_t end) {
      reduce_in_rank_order(std::vector<const void*>{&in_place[0][begin], &in_place[1][begin], &in_place[2][begin]},
                           &in_place[1][begin], static_cast<std::int64_t>(end - begin), Dtype::kFloat32, ReduceOp::kSum);
    };
    reduce(0, cut);
    reduce(cut, kCount);
    EXPECT_EQ(in_place[1], whole) << "cut at " << cut;
  }
}

}  // namespace
}  // namespace ballast::comm
