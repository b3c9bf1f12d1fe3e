#include "runtime/data/prediction_score.h"

#include <gtest/gtest.h>

namespace ballast::data {
namespace {

// Two bytes and an eos at one bit each: three bits on two bytes.
TEST(PredictionScore, SpecialTokensCountInTheLossButNotAsBytes) {
  PredictionScore score{2 * std::numbers::ln2, 2, 2};
  score += PredictionScore{std::numbers::ln2, 1, 0};
  EXPECT_DOUBLE_EQ(score.nats_per_token(), std::numbers::ln2);
  EXPECT_DOUBLE_EQ(score.bits_per_byte(), 1.5);
  EXPECT_TRUE(std::isnan(PredictionScore{}.nats_per_token()));
}

}  // namespace
}  // namespace ballast::data
