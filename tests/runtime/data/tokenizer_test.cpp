#include "runtime/data/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

namespace ballast::data {
namespace {

TEST(Tokenizer, EveryNameMakesItsTokenizer) {
  ASSERT_FALSE(tokenizer_names().empty());
  for (const auto name : tokenizer_names()) {
    const auto tokenizer = make_tokenizer(name);
    EXPECT_EQ(tokenizer->name(), name);
    const std::string text("a\0\xff\n\xc3", 5);
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
    EXPECT_EQ(tokenizer->num_bytes_of(tokenizer->bos()), 0);
    EXPECT_EQ(tokenizer->num_bytes_of(tokenizer->eos()), 0);
  }
}

TEST(Tokenizer, UnknownNameIsAnsweredWithTheKnownOnes) {
  try {
    make_tokenizer("bpe9");
    FAIL() << "not refused";
  } catch (const std::invalid_argument& error) {
    EXPECT_STREQ(error.what(), "data.tokenizer: 'bpe9' is not known; choose one of: byte");
  }
}

}  // namespace
}  // namespace ballast::data
