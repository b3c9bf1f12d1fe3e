#pragma once
// Reproducible token sequences for tests of the model and the trainer.
#include <cstdint>
#include <span>
#include <vector>

namespace ballast::support {

/// n + 1 tokens: the first n are inputs, the last n targets.
struct RandomSequence {
  std::vector<std::int32_t> tokens;
  std::span<const std::int32_t> inputs() const { return std::span(tokens).first(tokens.size() - 1); }
  std::span<const std::int32_t> targets() const { return std::span(tokens).subspan(1); }
};

/// One sequence per length, tokens uniform in [0, vocab_size).
std::vector<RandomSequence> random_sequences(std::span<const std::int64_t> lengths, std::int64_t vocab_size, std::uint64_t seed);

}  // namespace ballast::support
