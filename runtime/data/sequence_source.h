#pragma once
// Documents as training sequences in a reproducible order.
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "runtime/data/token_documents.h"

namespace ballast::data {

/// A run of one document's stream `bos tokens... eos`. Every input's target is the token after it, also across a cut.
struct Sequence {
  std::int64_t id = 0;        // number of the sequence in its source, whatever the sample order
  std::int64_t document = 0;  // number of its document in the TokenDocuments
  std::int64_t begin = 0;     // where the inputs begin in the document's stream
  std::vector<std::int32_t> tokens;

  std::int64_t length() const { return static_cast<std::int64_t>(tokens.size()) - 1; }
  std::span<const std::int32_t> inputs() const { return std::span(tokens).first(tokens.size() - 1); }
  std::span<const std::int32_t> targets() const { return std::span(tokens).subspan(1); }
};

/// How documents become sequences and in which order they are sampled.
struct SequenceOptions {
  std::int32_t bos = 0;
  std::int32_t eos = 0;
  std::int64_t max_sequence_tokens = 0;       // longer streams are cut into sequences of their own
  std::optional<std::uint64_t> shuffle_seed;  // none: plain order, once
};

/// Sample i is a pure function of (documents, options, i): no state, no dependence on ranks. Position in training =
/// number of consumed samples. With a shuffle seed samples go on for ever, each epoch in an order of its own; without
/// one they are the sequences in plain order.
class SequenceSource {
 public:
  /// Uses the documents `chosen` (numbers in `documents`), in that order; may be empty.
  /// Cost: 8 bytes of memory per document.
  /// Throws: std::invalid_argument when max_sequence_tokens < 1.
  SequenceSource(std::shared_ptr<const TokenDocuments> documents, std::vector<std::int64_t> chosen, SequenceOptions options);

  /// Sequence of a sample. Throws: std::out_of_range for a sample that does not exist.
  Sequence sequence(std::int64_t sample_index) const;
  /// Its length without reading it. Units: tokens.
  std::int64_t length(std::int64_t sample_index) const;
  /// Lengths of the samples of the step that starts at `position`: the next ones in order until one more would exceed
  /// `tokens_per_step`, at least one; in plain order also until the last.
  /// Throws: std::invalid_argument when any sequence of the source is longer than tokens_per_step, whatever the position.
  std::vector<std::int64_t> step_lengths(std::int64_t position, std::int64_t tokens_per_step) const;
  /// Epoch of a sample: 0, 1, ...
  std::int64_t epoch(std::int64_t sample_index) const;

  std::int64_t num_documents() const { return static_cast<std::int64_t>(chosen_.size()); }
  std::int64_t num_sequences() const { return first_sequence_.back(); }
  /// Documents that were cut into more than one sequence.
  std::int64_t num_cut_documents() const { return num_cut_documents_; }
  /// Targets of one epoch: every token of every document once, and its eos.
  std::int64_t num_tokens() const { return num_tokens_; }
  std::int64_t longest_tokens() const { return longest_tokens_; }
  /// Smallest sequence length that at least `fraction` of the sequences do not exceed, per fraction; 0 when empty.
  /// Input: fractions in [0, 1]. Cost: sorts all lengths.
  std::vector<std::int64_t> length_quantiles(std::span<const double> fractions) const;

 private:
  struct Place {
    std::int64_t id, chosen, begin, length;
  };
  Place place(std::int64_t sample_index) const;
  Place place_of_sequence(std::int64_t id) const;

  std::shared_ptr<const TokenDocuments> documents_;
  std::vector<std::int64_t> chosen_;
  SequenceOptions options_;
  std::vector<std::int64_t> first_sequence_;  // of each chosen document, and the total
  std::int64_t num_cut_documents_ = 0;
  std::int64_t num_tokens_ = 0;
  std::int64_t longest_tokens_ = 0;
};

}  // namespace ballast::data
