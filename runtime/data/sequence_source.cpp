#include "runtime/data/sequence_source.h"

#include <fmt/core.h>
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "runtime/data/permutation.h"

namespace ballast::data {
namespace {

/// Key of the order of one epoch.
std::uint64_t epoch_key(std::uint64_t seed, std::int64_t epoch) { return XXH64(&epoch, sizeof epoch, seed); }

}  // namespace

SequenceSource::SequenceSource(std::shared_ptr<const TokenDocuments> documents, std::vector<std::int64_t> chosen,
                               SequenceOptions options)
    : documents_(std::move(documents)), chosen_(std::move(chosen)), options_(options) {
  if (options_.max_sequence_tokens < 1) {
    throw std::invalid_argument(
        fmt::format("data.max_sequence_tokens is {}; at least 1 is needed", options_.max_sequence_tokens));
  }
  first_sequence_.reserve(chosen_.size() + 1);
  first_sequence_.push_back(0);
  for (const std::int64_t document : chosen_) {
    const std::int64_t num_targets = documents_->length(document) + 1;
    const std::int64_t num_sequences = (num_targets - 1) / options_.max_sequence_tokens + 1;
    first_sequence_.push_back(first_sequence_.back() + num_sequences);
    num_cut_documents_ += num_sequences > 1 ? 1 : 0;
    num_tokens_ += num_targets;
    longest_tokens_ = std::max(longest_tokens_, std::min(num_targets, options_.max_sequence_tokens));
  }
}

SequenceSource::Place SequenceSource::place_of_sequence(std::int64_t id) const {
  const auto after = std::upper_bound(first_sequence_.begin(), first_sequence_.end(), id);
  const auto chosen = after - first_sequence_.begin() - 1;
  const std::int64_t begin = (id - first_sequence_[static_cast<std::size_t>(chosen)]) * options_.max_sequence_tokens;
  const std::int64_t num_targets = documents_->length(chosen_[static_cast<std::size_t>(chosen)]) + 1;
  return {id, chosen, begin, std::min(options_.max_sequence_tokens, num_targets - begin)};
}

SequenceSource::Place SequenceSource::place(std::int64_t sample_index) const {
  const std::int64_t count = num_sequences();
  if (sample_index < 0 || count == 0 || (!options_.shuffle_seed && sample_index >= count)) {
    throw std::out_of_range(fmt::format("sample {} of a source of {} sequences in {} order", sample_index, count,
                                        options_.shuffle_seed ? "shuffled" : "plain"));
  }
  if (!options_.shuffle_seed) return place_of_sequence(sample_index);
  const Permutation order(count, epoch_key(*options_.shuffle_seed, epoch(sample_index)));
  return place_of_sequence(order(sample_index % count));
}

Sequence SequenceSource::sequence(std::int64_t sample_index) const {
  const Place at = place(sample_index);
  const std::int64_t document = chosen_[static_cast<std::size_t>(at.chosen)];
  const std::int64_t num_content = documents_->length(document);
  Sequence sequence{at.id, document, at.begin, std::vector<std::int32_t>(static_cast<std::size_t>(at.length) + 1)};
  // The document's stream has bos at 0, its content at [1, 1 + num_content) and eos after it.
  std::span<std::int32_t> content(sequence.tokens);
  if (at.begin == 0) {
    content.front() = options_.bos;
    content = content.subspan(1);
  }
  if (at.begin + at.length == num_content + 1) {
    content.back() = options_.eos;
    content = content.first(content.size() - 1);
  }
  documents_->read(document, std::max<std::int64_t>(at.begin - 1, 0), content);
  return sequence;
}

std::int64_t SequenceSource::length(std::int64_t sample_index) const { return place(sample_index).length; }

std::vector<std::int64_t> SequenceSource::step_lengths(std::int64_t position, std::int64_t tokens_per_step) const {
  if (longest_tokens_ > tokens_per_step) {
    throw std::invalid_argument(
        fmt::format("a step holds at most {} tokens but the longest sequence has {}; raise the tokens per step to at least "
                    "{} or lower data.max_sequence_tokens (now {}) to at most {}",
                    tokens_per_step, longest_tokens_, longest_tokens_, options_.max_sequence_tokens, tokens_per_step));
  }
  std::vector<std::int64_t> lengths{length(position)};
  std::int64_t total = lengths.front();
  for (std::int64_t next = position + 1; options_.shuffle_seed || next < num_sequences(); ++next) {
    lengths.push_back(length(next));
    total += lengths.back();
    if (total > tokens_per_step) {
      lengths.pop_back();
      break;
    }
  }
  return lengths;
}

std::int64_t SequenceSource::epoch(std::int64_t sample_index) const {
  return num_sequences() == 0 ? 0 : sample_index / num_sequences();
}

std::vector<std::int64_t> SequenceSource::length_quantiles(std::span<const double> fractions) const {
  std::vector<std::int64_t> lengths(static_cast<std::size_t>(num_sequences()));
  for (std::size_t s = 0; s < lengths.size(); ++s) lengths[s] = place_of_sequence(static_cast<std::int64_t>(s)).length;
  std::sort(lengths.begin(), lengths.end());
  std::vector<std::int64_t> quantiles;
  for (const double fraction : fractions) {
    if (!(fraction >= 0 && fraction <= 1)) throw std::invalid_argument(fmt::format("quantile {} is not in [0, 1]", fraction));
    const auto rank = static_cast<std::size_t>(std::ceil(fraction * static_cast<double>(lengths.size())));
    quantiles.push_back(lengths.empty() ? 0 : lengths[rank == 0 ? 0 : rank - 1]);
  }
  return quantiles;
}

}  // namespace ballast::data
