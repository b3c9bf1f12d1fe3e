#pragma once
// A random order without a table.
#include <array>
#include <cstdint>

namespace ballast::data {

/// A bijection of [0, size) chosen by a key: a Feistel network on the smallest power of two that is not below size,
/// walked along its cycle until it falls inside.
/// Deterministic: the same on every machine. Cost: O(1) memory, fewer than two walks on average.
/// Source: Black, Rogaway, "Ciphers with arbitrary finite domains", 2002.
class Permutation {
 public:
  /// Input: size >= 1.
  Permutation(std::int64_t size, std::uint64_t key);
  /// Image of `index`. Throws: std::out_of_range outside [0, size).
  std::int64_t operator()(std::int64_t index) const;

 private:
  std::int64_t size_;
  int low_bits_;
  int high_bits_;
  std::array<std::uint64_t, 8> round_key_;
};

}  // namespace ballast::data
