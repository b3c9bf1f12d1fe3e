#include "runtime/data/megatron_index.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <string>

#include "runtime/data/data_error.h"
#include "tests/runtime/data/temporary_folder.h"

namespace ballast::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

template <typename T>
void append(std::string& to, T value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

/// An .idx file whose fields can be wrong one by one. As it is: uint16 tokens, sequences of 3, 0, 5 and 2 tokens,
/// documents of 2, 0, 1 and 1 sequences; the .bin file has 20 bytes.
struct Index {
  std::string magic{"MMIDIDX\0\0", 9};
  std::uint64_t version = 1;
  std::uint8_t type = 8;
  std::uint64_t num_sequences = 4;
  std::uint64_t num_boundaries = 5;
  std::vector<std::int32_t> length{3, 0, 5, 2};
  std::vector<std::int64_t> offset{0, 6, 6, 16};
  std::vector<std::int64_t> boundary{0, 2, 2, 3, 4};
  std::string after;
  std::int64_t bin_bytes = 20;

  std::string bytes() const {
    std::string out = magic;
    append(out, version);
    append(out, type);
    append(out, num_sequences);
    append(out, num_boundaries);
    for (const auto value : length) append(out, value);
    for (const auto value : offset) append(out, value);
    for (const auto value : boundary) append(out, value);
    return out + after;
  }
};

MegatronIndex parse(std::string_view bytes, std::int64_t bin_bytes) {
  return parse_megatron_index(std::as_bytes(std::span(bytes)), bin_bytes, "x.idx");
}

constexpr std::int64_t kLengthOffset = 34, kOffsetOffset = 34 + 16, kBoundaryOffset = 34 + 48;

TEST(MegatronIndex, ReadsDocumentsOfSeveralAndOfNoSequences) {
  const Index file;
  const auto index = parse(file.bytes(), file.bin_bytes);
  EXPECT_EQ(index.type, TokenType::kUint16);
  EXPECT_EQ(index.num_sequences, 4);
  EXPECT_THAT(index.document_begin, ElementsAre(0, 3, 3, 8, 10));
}

TEST(MegatronIndex, EmptyDataSet) {
  Index file;
  file.num_sequences = 0;
  file.num_boundaries = 1;
  file.length.clear();
  file.offset.clear();
  file.boundary = {0};
  EXPECT_THAT(parse(file.bytes(), 0).document_begin, ElementsAre(0));
}

TEST(MegatronIndex, AllTokenTypes) {
  for (const auto& [type, width] : {std::pair(1, 1), {2, 1}, {3, 2}, {4, 4}, {5, 8}, {8, 2}}) {
    Index file;
    file.type = static_cast<std::uint8_t>(type);
    file.offset = {0, 3 * width, 3 * width, 8 * width};
    EXPECT_EQ(size_in_bytes(parse(file.bytes(), 10 * width).type), width);
  }
}

TEST(MegatronIndex, TypeOfAVocabulary) {
  EXPECT_EQ(token_type_for_vocabulary(259), TokenType::kUint16);
  EXPECT_EQ(token_type_for_vocabulary(65499), TokenType::kUint16);
  EXPECT_EQ(token_type_for_vocabulary(65500), TokenType::kInt32);
}

struct Attack {
  const char* name;
  void (*change)(Index&);
  std::string wanted;
};

void PrintTo(const Attack& attack, std::ostream* out) { *out << attack.name; }

class MegatronIndexAttack : public ::testing::TestWithParam<Attack> {};

TEST_P(MegatronIndexAttack, IsRefusedWithFileAndOffset) {
  Index file;
  GetParam().change(file);
  const auto bytes = file.bytes();
  const auto text = refusal<DataError>([&] { parse(bytes, file.bin_bytes); });
  EXPECT_THAT(text, ::testing::StartsWith("x.idx: offset "));
  EXPECT_THAT(text, HasSubstr(GetParam().wanted));
}

std::string at(std::int64_t offset, const std::string& text) { return fmt::format("offset {}: {}", offset, text); }

INSTANTIATE_TEST_SUITE_P(
    All, MegatronIndexAttack,
    ::testing::Values(
        Attack{"wrong_magic", [](Index& f) { f.magic[6] = 'Y'; }, at(0, "does not begin with MMIDIDX")},
        Attack{"magic_without_zeros", [](Index& f) { f.magic[8] = 1; }, at(0, "does not begin with MMIDIDX")},
        Attack{"version", [](Index& f) { f.version = 2; }, at(9, "version 2; only 1 is known")},
        Attack{"type_zero", [](Index& f) { f.type = 0; }, at(17, "type code 0 is not an integer type")},
        Attack{"type_float", [](Index& f) { f.type = 7; }, at(17, "type code 7 is not an integer type")},
        Attack{"type_unknown", [](Index& f) { f.type = 255; }, at(17, "type code 255 is not an integer type")},
        Attack{"sequences_overflow", [](Index& f) { f.num_sequences = ~std::uint64_t{0}; },
               at(18, "18446744073709551615 sequences need 12 bytes each; 88 bytes are left")},
        // 12 S and 8 D wrap to the right sizes.
        Attack{"sequences_wrap", [](Index& f) { f.num_sequences = (std::uint64_t{1} << 62) + 4; },
               at(18, "4611686018427387908 sequences need 12 bytes each")},
        Attack{"sequences_too_many", [](Index& f) { f.num_sequences = 8; }, at(18, "8 sequences need 12 bytes each")},
        Attack{"boundaries_overflow", [](Index& f) { f.num_boundaries = ~std::uint64_t{0}; },
               at(26, "18446744073709551615 document boundaries of 8 bytes each; at least 1 is needed and 40 bytes are left")},
        Attack{"boundaries_wrap", [](Index& f) { f.num_boundaries = (std::uint64_t{1} << 61) + 5; },
               at(26, "2305843009213693957 document boundaries of 8 bytes each")},
        Attack{"boundaries_none", [](Index& f) { f.num_boundaries = 0; }, at(26, "0 document boundaries")},
        Attack{"boundaries_too_many", [](Index& f) { f.num_boundaries = 6; }, at(26, "6 document boundaries")},
        Attack{"trailing_byte", [](Index& f) { f.after.push_back(0); }, at(122, "1 bytes follow the last document boundary")},
        Attack{"modes", [](Index& f) { f.after = std::string(4, '\0'); }, at(122, "4 modes follow: multimodal")},
        Attack{"length_negative", [](Index& f) { f.length[2] = -5; }, at(kLengthOffset + 8, "sequence 2 has -5 tokens")},
        Attack{"length_beyond_bin", [](Index& f) { f.length[3] = 3; },
               at(kLengthOffset + 12, "sequence 3 has 3 tokens; the .bin file of 20 bytes has 2 left for it")},
        Attack{"length_huge", [](Index& f) { f.length[0] = INT32_MAX; }, at(kLengthOffset, "sequence 0 has 2147483647 tokens")},
        Attack{"offset_negative", [](Index& f) { f.offset[0] = -2; }, at(kOffsetOffset, "sequence 0 begins at byte -2")},
        Attack{"offset_beyond", [](Index& f) { f.offset[3] = INT64_MAX; },
               at(kOffsetOffset + 24,
                  "sequence 3 begins at byte 9223372036854775807 of the .bin file; the sequences before it end at 16")},
        Attack{"offset_overlap", [](Index& f) { f.offset[2] = 4; }, at(kOffsetOffset + 16, "sequence 2 begins at byte 4")},
        Attack{"boundary_first", [](Index& f) { f.boundary[0] = 1; },
               at(kBoundaryOffset, "the first document begins at sequence 1")},
        Attack{"boundary_falls", [](Index& f) { f.boundary[2] = 1; }, at(kBoundaryOffset + 16, "document boundary 1 after 2")},
        Attack{"boundary_beyond", [](Index& f) { f.boundary[3] = 5; },
               at(kBoundaryOffset + 24, "document boundary 5 after 2 is not in order or beyond 4 sequences")},
        Attack{"boundary_negative", [](Index& f) { f.boundary[1] = INT64_MIN; },
               at(kBoundaryOffset + 8, "document boundary -92")},
        Attack{"boundary_last", [](Index& f) { f.boundary[4] = 3; },
               at(kBoundaryOffset + 32, "the last document ends at sequence 3 of 4")},
        Attack{"bin_truncated", [](Index& f) { f.bin_bytes = 19; }, at(kLengthOffset + 12, "sequence 3 has 2 tokens")},
        Attack{"bin_empty", [](Index& f) { f.bin_bytes = 0; }, at(kLengthOffset, "sequence 0 has 3 tokens")},
        Attack{"bin_longer", [](Index& f) { f.bin_bytes = 21; },
               at(122, "the sequences end at byte 20 of the .bin file, which has 21")}),
    [](const auto& parameter) { return parameter.param.name; });

TEST(MegatronIndex, EveryTruncationIsRefused) {
  const Index file;
  const auto bytes = file.bytes();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THAT(refusal<DataError>([&] { parse(std::string_view(bytes).substr(0, size), file.bin_bytes); }),
                ::testing::StartsWith("x.idx: offset "))
        << size;
  }
  EXPECT_EQ(refusal<DataError>([&] { parse(std::string_view(bytes).substr(0, 33), file.bin_bytes); }),
            "x.idx: offset 33: the file ends; a header has 34 bytes");
}

/// What acceptance promises: documents tile the .bin file in order.
void check_accepted(const MegatronIndex& index, std::int64_t bin_bytes) {
  RC_ASSERT(!index.document_begin.empty());
  RC_ASSERT(index.document_begin.front() == 0);
  RC_ASSERT(std::is_sorted(index.document_begin.begin(), index.document_begin.end()));
  RC_ASSERT(index.document_begin.back() * size_in_bytes(index.type) == bin_bytes);
}

TEST(MegatronIndex, FlippedBytesAreRefusedOrHarmless) {
  EXPECT_TRUE(rc::check([] {
    const Index file;
    auto bytes = file.bytes();
    const auto num_changes = *rc::gen::inRange(1, 4);
    for (int i = 0; i < num_changes; ++i) {
      bytes[*rc::gen::inRange<std::size_t>(0, bytes.size())] = *rc::gen::arbitrary<char>();
    }
    try {
      check_accepted(parse(bytes, file.bin_bytes), file.bin_bytes);
    } catch (const DataError&) {
    }
  }));
}

TEST(MegatronIndex, ArbitraryBytesAfterAValidBeginAreRefusedOrHarmless) {
  EXPECT_TRUE(rc::check([](const std::string& tail, std::uint8_t num_sequences, std::uint8_t num_boundaries) {
    Index file;
    file.num_sequences = num_sequences % 4;
    file.num_boundaries = num_boundaries % 4;
    file.length.clear();
    file.offset.clear();
    file.boundary.clear();
    file.after = tail;
    file.after.resize(12 * file.num_sequences + 8 * file.num_boundaries);
    try {
      check_accepted(parse(file.bytes(), 0), 0);
    } catch (const DataError&) {
    }
  }));
}

}  // namespace
}  // namespace ballast::data
