#include "runtime/data/bigram_baseline.h"

#include <fmt/core.h>

#include <cmath>
#include <stdexcept>
#include <utility>

namespace ballast::data {
namespace {

constexpr double kSmoothing = 0.1;
constexpr std::int64_t kMaxVocabSize = 4096;

}  // namespace

BigramBaseline::BigramBaseline(const SequenceSource& train, std::shared_ptr<const Tokenizer> tokenizer)
    : tokenizer_(std::move(tokenizer)) {
  const std::int64_t vocab_size = tokenizer_->vocab_size();
  if (vocab_size > kMaxVocabSize) {
    throw std::invalid_argument(
        fmt::format("a bigram baseline over {} tokens; at most {} are counted", vocab_size, kMaxVocabSize));
  }
  pair_count_.resize(static_cast<std::size_t>(vocab_size * vocab_size));
  input_count_.resize(static_cast<std::size_t>(vocab_size));
  for (std::int64_t sample = 0; sample < train.num_sequences(); ++sample) {
    const Sequence sequence = train.sequence(sample);
    for (std::size_t i = 0; i + 1 < sequence.tokens.size(); ++i) {
      ++pair_count_[cell(sequence.tokens[i], sequence.tokens[i + 1])];
      ++input_count_[static_cast<std::size_t>(sequence.tokens[i])];
    }
  }
}

std::size_t BigramBaseline::cell(std::int32_t input, std::int32_t target) const {
  const auto vocab_size = static_cast<std::int32_t>(input_count_.size());
  if (input < 0 || input >= vocab_size || target < 0 || target >= vocab_size) {
    throw std::out_of_range(fmt::format("token pair ({}, {}) outside a vocabulary of {}", input, target, vocab_size));
  }
  return static_cast<std::size_t>(input) * input_count_.size() + static_cast<std::size_t>(target);
}

double BigramBaseline::nats(std::int32_t input, std::int32_t target) const {
  const auto pairs = static_cast<double>(pair_count_[cell(input, target)]);
  const auto inputs = static_cast<double>(input_count_[static_cast<std::size_t>(input)]);
  return std::log(inputs + kSmoothing * static_cast<double>(input_count_.size())) - std::log(pairs + kSmoothing);
}

PredictionScore BigramBaseline::score(const Sequence& sequence) const {
  PredictionScore score;
  score.num_targets = sequence.length();
  for (std::size_t i = 0; i + 1 < sequence.tokens.size(); ++i) {
    score.nats += nats(sequence.tokens[i], sequence.tokens[i + 1]);
    score.num_bytes += tokenizer_->num_bytes_of(sequence.tokens[i + 1]);
  }
  return score;
}

}  // namespace ballast::data
