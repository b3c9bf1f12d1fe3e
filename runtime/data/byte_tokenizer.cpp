#include "runtime/data/byte_tokenizer.h"

#include <fmt/core.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace ballast::data {
namespace {

std::int32_t token_of(char byte) { return static_cast<unsigned char>(byte); }

class ByteDocuments final : public TokenDocuments {
 public:
  explicit ByteDocuments(TextDocuments documents) : documents_(std::move(documents)) {}

 private:
  std::int64_t get_size() const override { return documents_.size(); }
  std::int64_t get_num_empty() const override { return documents_.num_empty(); }
  std::int64_t get_length(std::int64_t document) const override {
    return static_cast<std::int64_t>(documents_.text(document).size());
  }
  void do_read(std::int64_t document, std::int64_t begin, std::span<std::int32_t> tokens) const override {
    const auto text = documents_.text(document).substr(static_cast<std::size_t>(begin), tokens.size());
    std::transform(text.begin(), text.end(), tokens.begin(), token_of);
  }
  std::string get_name(std::int64_t document) const override { return documents_.name(document); }

  TextDocuments documents_;
};

}  // namespace

std::int64_t ByteTokenizer::num_bytes_of(std::int32_t token) const {
  if (token < 0 || token >= vocab_size()) {
    throw std::out_of_range(fmt::format("token {} is outside the byte tokenizer's vocabulary of {}", token, vocab_size()));
  }
  return token < 256 ? 1 : 0;
}

std::vector<std::int32_t> ByteTokenizer::encode(std::string_view text) const {
  std::vector<std::int32_t> tokens(text.size());
  std::transform(text.begin(), text.end(), tokens.begin(), token_of);
  return tokens;
}

std::string ByteTokenizer::decode(std::span<const std::int32_t> tokens) const {
  std::string text;
  for (const std::int32_t token : tokens) {
    if (num_bytes_of(token) == 1) text.push_back(static_cast<char>(token));
  }
  return text;
}

std::unique_ptr<TokenDocuments> ByteTokenizer::tokenize(TextDocuments documents) const {
  return std::make_unique<ByteDocuments>(std::move(documents));
}

}  // namespace ballast::data
