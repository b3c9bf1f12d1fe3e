#include "runtime/data/byte_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <numeric>
#include <stdexcept>

namespace ballast::data {
namespace {

using ::testing::ElementsAre;

TEST(ByteTokenizer, BytesAreTokensAndSpecialTokensAreNoText) {
  const ByteTokenizer tokenizer;
  EXPECT_EQ(tokenizer.vocab_size(), 259);
  EXPECT_THAT(tokenizer.encode(std::string_view("\0a\xff", 3)), ElementsAre(0, 'a', 255));
  const std::vector<std::int32_t> tokens{256, 'h', 258, 'i', 257};
  EXPECT_EQ(tokenizer.decode(tokens), "hi");
  std::int64_t num_bytes = 0;
  for (std::int32_t token = 0; token < 259; ++token) num_bytes += tokenizer.num_bytes_of(token);
  EXPECT_EQ(num_bytes, 256);
}

TEST(ByteTokenizer, RoundTripOfAnyBytes) {
  EXPECT_TRUE(rc::check([](const std::string& text) {
    const ByteTokenizer tokenizer;
    RC_ASSERT(tokenizer.decode(tokenizer.encode(text)) == text);
  }));
}

TEST(ByteTokenizer, TokensOutsideTheVocabularyAreRefused) {
  const ByteTokenizer tokenizer;
  for (const std::int32_t token : {-1, 259, 1 << 30}) {
    EXPECT_THROW(tokenizer.num_bytes_of(token), std::out_of_range);
    EXPECT_THROW(tokenizer.decode(std::vector{token}), std::out_of_range);
  }
}

TEST(ByteTokenizer, DocumentsOnDemandEqualEncode) {
  EXPECT_TRUE(rc::check([](const std::vector<std::string>& texts) {
    TextDocuments documents;
    std::vector<std::string> filled;
    for (const auto& text : texts) {
      documents.add("d", text);
      if (!text.empty()) filled.push_back(text);
    }
    const ByteTokenizer tokenizer;
    const auto tokens = tokenizer.tokenize(std::move(documents));
    RC_ASSERT(tokens->size() == static_cast<std::int64_t>(filled.size()));
    RC_ASSERT(tokens->num_empty() == static_cast<std::int64_t>(texts.size() - filled.size()));
    for (std::size_t d = 0; d < filled.size(); ++d) {
      const auto all = tokenizer.encode(filled[d]);
      const auto begin = *rc::gen::inRange<std::size_t>(0, all.size() + 1);
      std::vector<std::int32_t> part(all.size() - begin);
      tokens->read(static_cast<std::int64_t>(d), static_cast<std::int64_t>(begin), part);
      RC_ASSERT(std::equal(part.begin(), part.end(), all.begin() + static_cast<std::ptrdiff_t>(begin)));
    }
  }));
}

}  // namespace
}  // namespace ballast::data
