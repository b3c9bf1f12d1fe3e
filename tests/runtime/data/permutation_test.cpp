#include "runtime/data/permutation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <vector>

namespace ballast::data {
namespace {

std::vector<std::int64_t> order(std::int64_t size, std::uint64_t key) {
  const Permutation permutation(size, key);
  std::vector<std::int64_t> images;
  for (std::int64_t i = 0; i < size; ++i) images.push_back(permutation(i));
  return images;
}

TEST(Permutation, EverySizeIsABijection) {
  for (std::int64_t size = 1; size <= 300; ++size) {
    for (const std::uint64_t key : {0ull, 1ull, 0xffff'ffff'ffff'ffffull}) {
      auto images = order(size, key);
      std::sort(images.begin(), images.end());
      std::vector<std::int64_t> all(static_cast<std::size_t>(size));
      std::iota(all.begin(), all.end(), 0);
      ASSERT_EQ(images, all) << "size " << size << " key " << key;
    }
  }
  for (const std::int64_t size : {4095, 4096, 4097, 65536, 99991}) {
    auto images = order(size, 7);
    std::sort(images.begin(), images.end());
    EXPECT_EQ(std::adjacent_find(images.begin(), images.end()), images.end());
    EXPECT_EQ(images.front(), 0);
    EXPECT_EQ(images.back(), size - 1);
  }
}

TEST(Permutation, KeysGiveDifferentOrders) {
  EXPECT_NE(order(100, 1), order(100, 2));
  EXPECT_EQ(order(100, 1), order(100, 1));
}

// Every position is equally likely for an element, over keys: chi square of 16 cells, 15 degrees of freedom;
// 37.7 is passed by one fair draw in a thousand, and the keys are fixed.
TEST(Permutation, ImagesAreUniformOverKeys) {
  for (const std::int64_t index : {0, 7, 15}) {
    std::vector<double> count(16, 0.0);
    constexpr int kKeys = 16000;
    for (std::uint64_t key = 0; key < kKeys; ++key) ++count[static_cast<std::size_t>(Permutation(16, key)(index))];
    double chi_square = 0;
    for (const double c : count) chi_square += (c - kKeys / 16.0) * (c - kKeys / 16.0) / (kKeys / 16.0);
    EXPECT_LT(chi_square, 37.7) << "index " << index;
  }
}

// A shuffled order keeps about one neighbour pair, not many.
TEST(Permutation, NeighboursAreSeparated) {
  const auto images = order(10000, 3);
  int num_kept = 0;
  for (std::size_t i = 1; i < images.size(); ++i) num_kept += images[i] == images[i - 1] + 1 ? 1 : 0;
  EXPECT_LT(num_kept, 8);
}

TEST(Permutation, HugeSizesNeedNoMemory) {
  const std::int64_t size = (std::int64_t{1} << 62) + 12345;
  const Permutation permutation(size, 5);
  EXPECT_NE(permutation(0), permutation(size - 1));
  for (std::int64_t i = 0; i < 1000; ++i) {
    ASSERT_GE(permutation(i), 0);
    ASSERT_LT(permutation(i), size);
  }
}

TEST(Permutation, RefusesWhatIsOutside) {
  EXPECT_THROW(Permutation(0, 1), std::invalid_argument);
  EXPECT_THROW(Permutation(-3, 1), std::invalid_argument);
  EXPECT_THROW(Permutation(3, 1)(3), std::out_of_range);
  EXPECT_THROW(Permutation(3, 1)(-1), std::out_of_range);
}

}  // namespace
}  // namespace ballast::data
