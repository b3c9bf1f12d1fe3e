#include "runtime/data/token_documents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

#include "runtime/data/byte_tokenizer.h"
#include "tests/runtime/data/temporary_folder.h"

namespace ballast::data {
namespace {

TEST(TokenDocuments, ReadsOutsideADocumentAreRefused) {
  TextDocuments texts;
  texts.add("a", "abc");
  texts.add("b", "d");
  const auto documents = ByteTokenizer().tokenize(std::move(texts));
  std::vector<std::int32_t> two(2);
  documents->read(0, 1, two);
  EXPECT_THAT(two, ::testing::ElementsAre('b', 'c'));
  EXPECT_NO_THROW(documents->read(1, 1, {}));
  EXPECT_EQ(refusal<std::out_of_range>([&] { documents->read(0, 2, two); }), "tokens [2, 2 + 2) of document 0, which has 3");
  EXPECT_THROW(documents->read(0, -1, two), std::out_of_range);
  EXPECT_THROW(documents->read(0, INT64_MAX, two), std::out_of_range);
  EXPECT_EQ(refusal<std::out_of_range>([&] { documents->length(2); }), "document 2 of a corpus of 2");
  EXPECT_THROW(documents->length(-1), std::out_of_range);
  EXPECT_EQ(documents->name(1), "b");
}

}  // namespace
}  // namespace ballast::data
