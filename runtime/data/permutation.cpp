#include "runtime/data/permutation.h"

#include <fmt/core.h>
#include <xxhash.h>

#include <bit>
#include <stdexcept>

namespace ballast::data {
namespace {

std::uint64_t mix(std::uint64_t value, std::uint64_t key) { return XXH64(&value, sizeof value, key); }

std::uint64_t mask(int bits) { return (std::uint64_t{1} << bits) - 1; }

}  // namespace

Permutation::Permutation(std::int64_t size, std::uint64_t key) : size_(size) {
  if (size < 1) throw std::invalid_argument(fmt::format("a permutation of {} elements; at least 1 is needed", size));
  const int bits = std::bit_width(static_cast<std::uint64_t>(size - 1));
  low_bits_ = bits / 2;
  high_bits_ = bits - low_bits_;
  for (std::size_t r = 0; r < round_key_.size(); ++r) round_key_[r] = mix(r, key);
}

std::int64_t Permutation::operator()(std::int64_t index) const {
  if (index < 0 || index >= size_) throw std::out_of_range(fmt::format("index {} of a permutation of {}", index, size_));
  auto value = static_cast<std::uint64_t>(index);
  do {
    std::uint64_t low = value & mask(low_bits_);
    std::uint64_t high = value >> low_bits_;
    for (std::size_t r = 0; r < round_key_.size(); r += 2) {
      high ^= mix(low, round_key_[r]) & mask(high_bits_);
      low ^= mix(high, round_key_[r + 1]) & mask(low_bits_);
    }
    value = high << low_bits_ | low;
  } while (value >= static_cast<std::uint64_t>(size_));
  return static_cast<std::int64_t>(value);
}

}  // namespace ballast::data
