#include "runtime/data/megatron_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <stdexcept>
#include <string>

#include "runtime/data/byte_tokenizer.h"
#include "runtime/data/data_error.h"
#include "runtime/data/megatron_documents.h"
#include "tests/runtime/data/temporary_folder.h"

namespace ballast::data {
namespace {

using ::testing::HasSubstr;

/// Bytes written as pairs of hexadecimal digits; spaces are ignored.
std::string from_hex(std::string_view text) {
  std::string bytes, digits;
  for (const char c : text) {
    if (c == ' ') continue;
    digits.push_back(c);
    if (digits.size() == 2) {
      bytes.push_back(static_cast<char>(std::stoi(digits, nullptr, 16)));
      digits.clear();
    }
  }
  return bytes;
}

// The bytes that the IndexedDatasetBuilder of Megatron-Core 0.13.1 makes for these documents.
TEST(MegatronWriter, GoldenFile) {
  const TemporaryFolder folder;
  MegatronWriter writer(folder.path("set"), 50'257);
  writer.add_document(std::vector<std::int32_t>{1, 2, 3});
  writer.add_document(std::vector<std::int32_t>{50'256});
  writer.add_document(std::vector<std::int32_t>{258, 257});
  writer.finish();
  EXPECT_EQ(folder.read("set.bin"), from_hex("0100 0200 0300 50c4 0201 0101"));
  const auto index = folder.read("set.idx");
  EXPECT_EQ(index.size(), 102u);
  EXPECT_EQ(index, from_hex("4d4d494449445800 00"                                                  // MMIDIDX
                            "0100000000000000 08"                                                  // version 1, uint16
                            "0300000000000000 0400000000000000"                                    // sequences, documents + 1
                            "03000000 01000000 02000000"                                           // lengths
                            "0000000000000000 0600000000000000 0800000000000000"                   // byte offsets
                            "0000000000000000 0100000000000000 0200000000000000 0300000000000000"  // document boundaries
                            ));
}

TEST(MegatronWriter, LargeVocabularyTakesFourBytes) {
  const TemporaryFolder folder;
  MegatronWriter writer(folder.path("set"), 65'500);
  writer.add_document(std::vector<std::int32_t>{65'499});
  writer.finish();
  EXPECT_EQ(folder.read("set.bin"), from_hex("dbff0000"));
  EXPECT_EQ(folder.read("set.idx")[17], 4);
}

TEST(MegatronWriter, RoundTrip) {
  EXPECT_TRUE(rc::check([] {
    const TemporaryFolder folder;
    const auto documents = *rc::gen::container<std::vector<std::vector<std::int32_t>>>(
        rc::gen::container<std::vector<std::int32_t>>(rc::gen::inRange(0, 256)));
    MegatronWriter writer(folder.path("set"), 259);
    for (const auto& document : documents) writer.add_document(document);
    writer.finish();
    const auto read = open_megatron_documents(folder.path("set"), ByteTokenizer());
    std::int64_t next = 0;
    for (const auto& document : documents) {
      if (document.empty()) continue;
      std::vector<std::int32_t> tokens(static_cast<std::size_t>(read->length(next)));
      read->read(next++, 0, tokens);
      RC_ASSERT(tokens == document);
    }
    RC_ASSERT(read->size() == next);
    RC_ASSERT(read->num_empty() == static_cast<std::int64_t>(documents.size()) - next);
  }));
}

TEST(MegatronWriter, UnfinishedLeavesNothing) {
  const TemporaryFolder folder;
  { MegatronWriter(folder.path("set"), 259).add_document(std::vector<std::int32_t>{1}); }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(MegatronWriter, RefusesForeignTokensAndExistingFiles) {
  const TemporaryFolder folder;
  MegatronWriter writer(folder.path("set"), 259);
  EXPECT_EQ(refusal<std::invalid_argument>([&] { writer.add_document(std::vector<std::int32_t>{259}); }),
            "token 259 is outside the vocabulary, [0, 259)");
  EXPECT_THROW(writer.add_document(std::vector<std::int32_t>{-1}), std::invalid_argument);
  folder.write("old.idx", "x");
  EXPECT_THAT(refusal<DataError>([&] { MegatronWriter(folder.path("old"), 259); }),
              HasSubstr("old.idx: exists already; nothing is overwritten"));
  EXPECT_THAT(refusal<DataError>([&] { MegatronWriter(folder.path("no/such"), 259); }), HasSubstr("does its folder exist?"));
}

}  // namespace
}  // namespace ballast::data
