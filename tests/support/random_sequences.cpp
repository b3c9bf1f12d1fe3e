#include "tests/support/random_sequences.h"

#include <random>

namespace ballast::support {

std::vector<RandomSequence> random_sequences(std::span<const std::int64_t> lengths, std::int64_t vocab_size, std::uint64_t seed) {
  std::mt19937_64 generator(seed);
  std::vector<RandomSequence> sequences;
  for (const std::int64_t length : lengths) {
    RandomSequence& sequence = sequences.emplace_back();
    for (std::int64_t i = 0; i <= length; ++i) {
      sequence.tokens.push_back(static_cast<std::int32_t>(generator() % static_cast<std::uint64_t>(vocab_size)));
    }
  }
  return sequences;
}

}  // namespace ballast::support
