#pragma once
// What a model must beat: the frequency of each token after each other token.
#include <cstdint>
#include <memory>
#include <vector>

#include "runtime/data/prediction_score.h"
#include "runtime/data/sequence_source.h"
#include "runtime/data/tokenizer.h"

namespace ballast::data {

/// p(target | input) = (count(input, target) + 0.1) / (count(input) + 0.1 V), counted on training sequences.
class BigramBaseline {
 public:
  /// Counts one epoch of `train`.
  /// Cost: one pass over the sequences, 8 V^2 bytes.
  /// Throws: std::invalid_argument when V > 4,096, where a table of all pairs is not a baseline any more.
  BigramBaseline(const SequenceSource& train, std::shared_ptr<const Tokenizer> tokenizer);

  /// Score of every target of a sequence given its input.
  PredictionScore score(const Sequence& sequence) const;
  /// -ln p(target | input). Units: nats.
  double nats(std::int32_t input, std::int32_t target) const;

 private:
  std::size_t cell(std::int32_t input, std::int32_t target) const;

  std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<std::int64_t> pair_count_;   // V x V
  std::vector<std::int64_t> input_count_;  // V
};

}  // namespace ballast::data
