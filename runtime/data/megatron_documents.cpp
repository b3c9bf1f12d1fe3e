#include "runtime/data/megatron_documents.h"

#include <fmt/core.h>

#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "runtime/data/data_error.h"
#include "runtime/data/mapped_file.h"
#include "runtime/data/megatron_index.h"

namespace ballast::data {
namespace {

class MegatronDocuments final : public TokenDocuments {
 public:
  MegatronDocuments(const std::filesystem::path& prefix, const Tokenizer& tokenizer)
      : tokens_path_(megatron_tokens_path(prefix)), tokens_(tokens_path_) {
    const auto index_path = megatron_index_path(prefix);
    const MappedFile index_file(index_path);
    const auto index =
        parse_megatron_index(index_file.bytes(), static_cast<std::int64_t>(tokens_.bytes().size()), index_path.string());
    type_ = index.type;
    for (std::size_t d = 0; d + 1 < index.document_begin.size(); ++d) {
      Range range{index.document_begin[d], index.document_begin[d + 1]};
      if (range.begin < range.end && token(range.begin) == tokenizer.bos()) ++range.begin;
      if (range.begin < range.end && token(range.end - 1) == tokenizer.eos()) --range.end;
      if (range.begin == range.end) {
        ++num_empty_;
      } else {
        documents_.push_back(range);
      }
    }
  }

 private:
  struct Range {
    std::int64_t begin, end;  // in tokens of the .bin file
  };

  std::int64_t get_size() const override { return static_cast<std::int64_t>(documents_.size()); }
  std::int64_t get_num_empty() const override { return num_empty_; }
  std::int64_t get_length(std::int64_t document) const override { return range(document).end - range(document).begin; }
  std::string get_name(std::int64_t document) const override {
    return fmt::format("{}, tokens [{}, {})", tokens_path_.string(), range(document).begin, range(document).end);
  }
  void do_read(std::int64_t document, std::int64_t begin, std::span<std::int32_t> tokens) const override {
    copy(range(document).begin + begin, tokens);
  }

  const Range& range(std::int64_t document) const { return documents_[static_cast<std::size_t>(document)]; }
  std::int32_t token(std::int64_t position) const {
    std::int32_t value = 0;
    copy(position, std::span(&value, 1));
    return value;
  }
  void copy(std::int64_t begin, std::span<std::int32_t> tokens) const {
    switch (type_) {
      case TokenType::kUint8:
        return copy_from<std::uint8_t>(begin, tokens);
      case TokenType::kInt8:
        return copy_from<std::int8_t>(begin, tokens);
      case TokenType::kInt16:
        return copy_from<std::int16_t>(begin, tokens);
      case TokenType::kInt32:
        return copy_from<std::int32_t>(begin, tokens);
      case TokenType::kInt64:
        return copy_from<std::int64_t>(begin, tokens);
      case TokenType::kUint16:
        return copy_from<std::uint16_t>(begin, tokens);
    }
  }
  template <typename T>
  void copy_from(std::int64_t begin, std::span<std::int32_t> tokens) const {
    const auto source = tokens_.bytes().subspan(static_cast<std::size_t>(begin) * sizeof(T), tokens.size() * sizeof(T));
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      T value;
      std::memcpy(&value, source.data() + i * sizeof(T), sizeof(T));
      tokens[i] = static_cast<std::int32_t>(value);
      if (static_cast<std::int64_t>(tokens[i]) != static_cast<std::int64_t>(value)) {
        throw DataError(fmt::format("{}: token {} at position {} does not fit 32 bits", tokens_path_.string(), value,
                                    begin + static_cast<std::int64_t>(i)));
      }
    }
  }

  std::filesystem::path tokens_path_;
  MappedFile tokens_;
  TokenType type_ = TokenType::kUint16;
  std::vector<Range> documents_;
  std::int64_t num_empty_ = 0;
};

std::filesystem::path with_ending(const std::filesystem::path& prefix, const char* ending) { return prefix.string() + ending; }

}  // namespace

std::filesystem::path megatron_index_path(const std::filesystem::path& prefix) { return with_ending(prefix, ".idx"); }
std::filesystem::path megatron_tokens_path(const std::filesystem::path& prefix) { return with_ending(prefix, ".bin"); }

std::unique_ptr<TokenDocuments> open_megatron_documents(const std::filesystem::path& prefix, const Tokenizer& tokenizer) {
  return std::make_unique<MegatronDocuments>(prefix, tokenizer);
}

}  // namespace ballast::data
