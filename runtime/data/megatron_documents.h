#pragma once
// Megatron's indexed data sets as documents.
#include <filesystem>
#include <memory>

#include "runtime/data/token_documents.h"
#include "runtime/data/tokenizer.h"

namespace ballast::data {

/// Opens `prefix`.idx and `prefix`.bin. A document is its sequences joined. Marks that Megatron's tools left inside (a bos
/// at its begin, an eos at its end) are not part of it, since every document's stream gets them anyway; a document of
/// marks alone is empty. Tokens stay in the mapped file.
/// Throws: DataError as parse_megatron_index, or when a file is missing.
std::unique_ptr<TokenDocuments> open_megatron_documents(const std::filesystem::path& prefix, const Tokenizer& tokenizer);

/// `prefix` with the ending of its index or its tokens.
std::filesystem::path megatron_index_path(const std::filesystem::path& prefix);
std::filesystem::path megatron_tokens_path(const std::filesystem::path& prefix);

}  // namespace ballast::data
