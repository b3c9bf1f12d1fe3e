#pragma once
// One pass over a document: what identifies it, and how much text it is.
#include <cstdint>

#include "runtime/data/token_documents.h"
#include "runtime/data/tokenizer.h"

namespace ballast::data {

struct DocumentDigest {
  std::uint64_t hash = 0;      // xxHash64 of the tokens as little-endian int32, seed 0
  std::int64_t num_bytes = 0;  // bytes of text
};

/// Reads a document once. The same text gives the same digest however its tokens are kept.
/// Throws: DataError when a token is outside the tokenizer's vocabulary.
DocumentDigest digest(const TokenDocuments& documents, std::int64_t document, const Tokenizer& tokenizer);

}  // namespace ballast::data
