#include "runtime/data/megatron_documents.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "runtime/data/byte_tokenizer.h"
#include "runtime/data/data_error.h"
#include "runtime/data/megatron_writer.h"
#include "tests/runtime/data/temporary_folder.h"

namespace ballast::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::int32_t kBos = ByteTokenizer::kBos;
constexpr std::int32_t kEos = ByteTokenizer::kEos;

std::vector<std::int32_t> tokens_of(const TokenDocuments& documents, std::int64_t document) {
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(documents.length(document)));
  documents.read(document, 0, tokens);
  return tokens;
}

class MegatronDocuments : public ::testing::Test {
 protected:
  /// Writes documents for a vocabulary of that size.
  void write(const std::vector<std::vector<std::int32_t>>& documents, std::int64_t vocab_size) const {
    MegatronWriter writer(prefix_, vocab_size);
    for (const auto& document : documents) writer.add_document(document);
    writer.finish();
  }
  std::unique_ptr<TokenDocuments> open() const { return open_megatron_documents(prefix_, ByteTokenizer()); }

  TemporaryFolder folder_;
  std::filesystem::path prefix_ = folder_.path("set");
};

TEST_F(MegatronDocuments, MarksAreNotPartOfADocument) {
  write({{kBos, 1, 2, kEos}, {3, kEos}, {kEos}, {}, {kBos, kEos}, {4}, {5, kEos, kEos}}, 259);
  const auto documents = open();
  ASSERT_EQ(documents->size(), 4);
  EXPECT_EQ(documents->num_empty(), 3);
  EXPECT_THAT(tokens_of(*documents, 0), ElementsAre(1, 2));
  EXPECT_THAT(tokens_of(*documents, 1), ElementsAre(3));
  EXPECT_THAT(tokens_of(*documents, 2), ElementsAre(4));
  EXPECT_THAT(tokens_of(*documents, 3), ElementsAre(5, kEos));
  EXPECT_EQ(documents->name(1), fmt::format("{}.bin, tokens [4, 5)", prefix_.string()));
}

TEST_F(MegatronDocuments, WideTokens) {
  write({{70000, 1}, {2}}, 100'000);
  const auto documents = open();
  EXPECT_THAT(tokens_of(*documents, 0), ElementsAre(70000, 1));
  EXPECT_THAT(tokens_of(*documents, 1), ElementsAre(2));
}

TEST_F(MegatronDocuments, TokenBeyond32BitsIsNamed) {
  write({{1, 2, 3, 4}}, 100'000);  // 16 bytes: two tokens of 8
  auto index = folder_.read("set.idx");
  index[17] = 5;
  index[34] = 2;
  folder_.write("set.idx", index);
  std::string tokens(16, '\0');
  tokens[0] = 7;
  tokens[12] = 1;
  folder_.write("set.bin", tokens);
  EXPECT_THAT(refusal<DataError>([&] { open(); }), HasSubstr("set.bin: token 4294967296 at position 1 does not fit 32 bits"));
}

TEST_F(MegatronDocuments, DamagedAndMissingFilesAreNamed) {
  EXPECT_THAT(refusal<DataError>([&] { open(); }), HasSubstr("set.bin: No such file"));
  write({{1, 2}, {3}}, 259);
  std::filesystem::resize_file(prefix_.string() + ".bin", 4);
  EXPECT_THAT(refusal<DataError>([&] { open(); }),
              HasSubstr("set.idx: offset 38: sequence 1 has 1 tokens; the .bin file of 4 bytes has 0 left for it"));
  std::filesystem::remove(prefix_.string() + ".idx");
  EXPECT_THAT(refusal<DataError>([&] { open(); }), HasSubstr("set.idx: No such file"));
}

}  // namespace
}  // namespace ballast::data
