#include "runtime/data/document_digest.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <xxhash.h>

#include <algorithm>

#include "runtime/data/byte_tokenizer.h"
#include "runtime/data/data_error.h"
#include "tests/runtime/data/temporary_folder.h"

namespace ballast::data {
namespace {

/// Documents whose tokens are given.
class GivenDocuments final : public TokenDocuments {
 public:
  explicit GivenDocuments(std::vector<std::int32_t> tokens) : tokens_(std::move(tokens)) {}

 private:
  std::int64_t get_size() const override { return 1; }
  std::int64_t get_num_empty() const override { return 0; }
  std::int64_t get_length(std::int64_t) const override { return static_cast<std::int64_t>(tokens_.size()); }
  void do_read(std::int64_t, std::int64_t begin, std::span<std::int32_t> tokens) const override {
    std::copy_n(tokens_.begin() + begin, tokens.size(), tokens.begin());
  }
  std::string get_name(std::int64_t) const override { return "given"; }

  std::vector<std::int32_t> tokens_;
};

TEST(DocumentDigest, HashOfAllTokensInOneEqualsTheBlocks) {
  std::vector<std::int32_t> tokens(100'000);
  for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<std::int32_t>(i * i % 256);
  const auto found = digest(GivenDocuments(tokens), 0, ByteTokenizer());
  EXPECT_EQ(found.hash, XXH64(tokens.data(), tokens.size() * sizeof tokens[0], 0));
  EXPECT_EQ(found.num_bytes, 100'000);
  tokens.back() += 1;
  EXPECT_NE(digest(GivenDocuments(tokens), 0, ByteTokenizer()).hash, found.hash);
}

TEST(DocumentDigest, SpecialTokensAreNoBytes) {
  EXPECT_EQ(digest(GivenDocuments({1, ByteTokenizer::kEos, 2}), 0, ByteTokenizer()).num_bytes, 2);
}

TEST(DocumentDigest, TokenOutsideTheVocabularyIsNamed) {
  for (const std::int32_t wrong : {-1, 259}) {
    EXPECT_EQ(refusal<DataError>([&] {
                digest(GivenDocuments({1, 2, wrong}), 0, ByteTokenizer());
              }),
              fmt::format("given: token {} at position 2 is outside the vocabulary of the 'byte' tokenizer, [0, 259)", wrong));
  }
}

}  // namespace
}  // namespace ballast::data
