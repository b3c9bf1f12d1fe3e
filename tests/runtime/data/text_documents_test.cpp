#include "runtime/data/text_documents.h"

#include <gtest/gtest.h>

namespace ballast::data {
namespace {

TEST(TextDocuments, KeepsTextsApartAndCountsEmptyOnes) {
  TextDocuments documents;
  documents.add("a", "first");
  documents.add("b", "");
  documents.add("c", std::string_view("\0x", 2));
  ASSERT_EQ(documents.size(), 2);
  EXPECT_EQ(documents.num_empty(), 1);
  EXPECT_EQ(documents.text(0), "first");
  EXPECT_EQ(documents.text(1), std::string_view("\0x", 2));
  EXPECT_EQ(documents.name(1), "c");
}

}  // namespace
}  // namespace ballast::data
