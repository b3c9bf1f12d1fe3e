#pragma once
// One token per byte.
#include "runtime/data/tokenizer.h"

namespace ballast::data {

/// Token b < 256 is the byte b; then bos, eos and pad.
class ByteTokenizer final : public Tokenizer {
 public:
  static constexpr std::string_view kName = "byte";
  static constexpr std::int32_t kBos = 256;
  static constexpr std::int32_t kEos = 257;
  /// Never part of a corpus; for exports to systems that want one.
  static constexpr std::int32_t kPad = 258;

  std::string_view name() const override { return kName; }
  std::int64_t vocab_size() const override { return 259; }
  std::int32_t bos() const override { return kBos; }
  std::int32_t eos() const override { return kEos; }
  std::int64_t num_bytes_of(std::int32_t token) const override;
  std::vector<std::int32_t> encode(std::string_view text) const override;
  std::string decode(std::span<const std::int32_t> tokens) const override;
  /// Keeps the bytes and makes tokens on demand, so a corpus takes one byte per token in memory.
  std::unique_ptr<TokenDocuments> tokenize(TextDocuments documents) const override;
};

}  // namespace ballast::data
