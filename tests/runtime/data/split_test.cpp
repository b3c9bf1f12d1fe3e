#include "runtime/data/split.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <stdexcept>

namespace ballast::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string refusal(const std::vector<std::uint64_t>& hashes, double fraction) {
  try {
    split_documents(hashes, fraction);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Split, BorderIsExact) {
  const std::uint64_t quarter = std::uint64_t{1} << 62;
  const auto split = split_documents(std::vector<std::uint64_t>{quarter, quarter - 1, ~std::uint64_t{0}, 0}, 0.25);
  EXPECT_THAT(split.held_out, ElementsAre(1, 3));
  EXPECT_THAT(split.train, ElementsAre(0, 2));
}

TEST(Split, DoesNotDependOnOrderOrOtherDocuments) {
  std::mt19937_64 random(1);
  std::vector<std::uint64_t> hashes(1000);
  for (auto& hash : hashes) hash = random();
  const auto hashes_of = [](const std::vector<std::uint64_t>& from, const std::vector<std::int64_t>& side) {
    std::set<std::uint64_t> chosen;
    for (const auto document : side) chosen.insert(from[static_cast<std::size_t>(document)]);
    return chosen;
  };
  const auto held_out = hashes_of(hashes, split_documents(hashes, 0.1).held_out);
  EXPECT_NEAR(static_cast<double>(held_out.size()), 100, 30);

  auto shuffled = hashes;
  std::shuffle(shuffled.begin(), shuffled.end(), random);
  EXPECT_EQ(hashes_of(shuffled, split_documents(shuffled, 0.1).held_out), held_out);

  auto half = hashes;
  half.resize(500);
  for (const auto hash : hashes_of(half, split_documents(half, 0.1).held_out)) EXPECT_TRUE(held_out.contains(hash));
}

TEST(Split, ZeroHoldsNothingOut) { EXPECT_TRUE(split_documents(std::vector<std::uint64_t>{0, 1}, 0).held_out.empty()); }

TEST(Split, EmptySideIsRefusedWithNumbers) {
  EXPECT_THAT(refusal({~std::uint64_t{0}, ~std::uint64_t{0}}, 0.02),
              HasSubstr("no document is held out: data.held_out_fraction = 0.02 chose 0 of 2"));
  EXPECT_THAT(refusal({0, 0, 0}, 0.5),
              HasSubstr("no document is left for training: data.held_out_fraction = 0.5 holds out all 3"));
  EXPECT_THAT(refusal({1}, 1.0), HasSubstr("must be in [0, 1)"));
  EXPECT_THAT(refusal({1}, -0.1), HasSubstr("must be in [0, 1)"));
}

}  // namespace
}  // namespace ballast::data
