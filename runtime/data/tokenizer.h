#pragma once
// Text to tokens and back.
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/data/text_documents.h"
#include "runtime/data/token_documents.h"

namespace ballast::data {

/// Tokens are numbers in [0, vocab_size()). Immutable.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  /// Name in the registry and in data.tokenizer.
  virtual std::string_view name() const = 0;
  virtual std::int64_t vocab_size() const = 0;
  /// Token before the first one of every document.
  virtual std::int32_t bos() const = 0;
  /// Token after the last one of every document.
  virtual std::int32_t eos() const = 0;
  /// Bytes of text that a token stands for; special tokens stand for none.
  /// Throws: std::out_of_range when the token is not in the vocabulary.
  virtual std::int64_t num_bytes_of(std::int32_t token) const = 0;
  /// Returns: tokens without bos and eos.
  virtual std::vector<std::int32_t> encode(std::string_view text) const = 0;
  /// Returns: the text; special tokens give nothing. encode then decode gives the same bytes.
  /// Throws: std::out_of_range when a token is not in the vocabulary.
  virtual std::string decode(std::span<const std::int32_t> tokens) const = 0;
  /// A whole corpus as tokens, kept in the form that suits the tokenizer.
  virtual std::unique_ptr<TokenDocuments> tokenize(TextDocuments documents) const = 0;
};

/// Tokenizer of that name.
/// Throws: std::invalid_argument naming the known ones.
std::unique_ptr<Tokenizer> make_tokenizer(std::string_view name);
/// Names that make_tokenizer knows.
std::vector<std::string_view> tokenizer_names();

}  // namespace ballast::data
