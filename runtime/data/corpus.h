#pragma once
// A corpus as the config describes it, ready for training: the front door of this folder.
#include <cstdint>
#include <memory>

#include "runtime/data/sequence_source.h"
#include "runtime/data/token_documents.h"
#include "runtime/data/tokenizer.h"

namespace ballast::schema {
class Data;
}

namespace ballast::data {

struct Corpus {
  std::shared_ptr<const Tokenizer> tokenizer;
  std::shared_ptr<const TokenDocuments> documents;
  SequenceSource train;     // shuffled, endless
  SequenceSource held_out;  // plain order; empty only when data.held_out_fraction is 0
  std::int64_t train_bytes = 0;
  std::int64_t held_out_bytes = 0;
  /// Changes with any document, their order, and every option that changes which sample a position means.
  std::uint64_t fingerprint = 0;
};

/// Documents of the configured source as tokens.
/// Throws: DataError when the source is missing or damaged, std::invalid_argument when none or an unknown one is asked for.
std::unique_ptr<TokenDocuments> open_documents(const schema::Data& options, const Tokenizer& tokenizer);

/// Opens, checks, splits and cuts the corpus; equal on every rank that sees the same files.
/// Cost: reads every document once.
/// Throws: as open_documents and split_documents; DataError when every document is empty.
Corpus open_corpus(const schema::Data& options);

/// Bytes of text that the targets of a sequence stand for.
std::int64_t num_target_bytes(const Sequence& sequence, const Tokenizer& tokenizer);

}  // namespace ballast::data
