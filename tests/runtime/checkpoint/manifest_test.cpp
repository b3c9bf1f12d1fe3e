#include "runtime/checkpoint/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "runtime/checkpoint/manifest.pb.h"
#include "tests/runtime/checkpoint/training_state.h"

namespace ballast::checkpoint {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

Manifest sample() {
  return {.point = point_at(1200),
          .files = {{"rank-00000.safetensors", 400, {1, 2}}, {"rank-00003.safetensors", 4000, {3, ~0ull}}},
          .tensors = {{"a", TensorKind::kOptimizer, ElementType::kF64, {3, 5}, {{1, 0, 7, 96}, {0, 7, 15, 128}}},
                      {"b", TensorKind::kState, ElementType::kU8, {}, {{0, 0, 1, 399}}},
                      {"empty", TensorKind::kRouter, ElementType::kBF16, {0, 9}, {}}}};
}

std::string sealed(const schema::Manifest& message) {
  std::string bytes = message.SerializeAsString();
  const ContentHash hash = content_hash(std::as_bytes(std::span(bytes)));
  for (const std::uint64_t half : {hash.high, hash.low}) {
    for (int shift = 56; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(half >> shift));
  }
  return bytes;
}

Manifest parse(const std::string& bytes) { return parse_manifest(std::as_bytes(std::span(bytes)), "folder/manifest.pb"); }

std::string refusal(const std::string& bytes) {
  try {
    parse(bytes);
  } catch (const FormatError& error) {
    EXPECT_THAT(error.what(), StartsWith("folder/manifest.pb: "));
    return error.what();
  }
  return "accepted";
}

/// What parsing says after `change` was done to a good manifest, sealed with its right hash again.
std::string refusal_after(const std::function<void(schema::Manifest&)>& change) {
  const std::string bytes = serialize(sample());
  schema::Manifest message;
  EXPECT_TRUE(message.ParseFromString(bytes.substr(0, bytes.size() - 16)));
  change(message);
  return refusal(sealed(message));
}

TEST(Manifest, SaysAfterReadingWhatItSaidBefore) {
  const std::string bytes = serialize(sample());
  const Manifest read = parse(bytes);
  EXPECT_EQ(serialize(read), bytes);
  const TrainingPoint& point = read.point;
  const TrainingPoint wanted = point_at(1200);
  EXPECT_EQ(point.run_id, wanted.run_id);
  EXPECT_EQ(point.step, 1200);
  EXPECT_EQ(point.consumed_samples, 32 * 1200);
  EXPECT_EQ(point.config_hash, 77u);
  EXPECT_EQ(point.config_text, wanted.config_text);
  EXPECT_EQ(point.libraries, wanted.libraries);
  EXPECT_EQ(point.mesh, wanted.mesh);
  EXPECT_EQ(point.parent, wanted.parent);
  EXPECT_EQ(point.state, wanted.state);
  EXPECT_EQ(read.size_bytes(), 4400);
  ASSERT_NE(read.find("a"), nullptr);
  EXPECT_EQ(read.find("a")->shape, (std::vector<std::int64_t>{3, 5}));
  EXPECT_EQ(read.find("a")->kind, TensorKind::kOptimizer);
  EXPECT_EQ(read.find("a")->pieces[1].offset_bytes, 128);
  EXPECT_EQ(read.files[1].hash, (ContentHash{3, ~0ull}));
  EXPECT_EQ(read.find("c"), nullptr);
}

TEST(Manifest, EveryFlippedBitAndEveryCutIsSeen) {
  const std::string bytes = serialize(sample());
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    std::string damaged = bytes;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_THAT(refusal(damaged), HasSubstr("its content has the hash")) << "bit " << bit;
  }
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_THAT(refusal(bytes.substr(0, size)),
                ::testing::AnyOf(HasSubstr("a manifest has"), HasSubstr("its trailer says another")));
}

TEST(Manifest, RefusesAnIncompleteInventory) {
  EXPECT_THAT(refusal_after([](auto& m) { m.set_format_version(2); }), HasSubstr("format version 2; this build reads version 1"));
  EXPECT_THAT(refusal_after([](auto& m) { m.mutable_point()->set_step(-1); }), HasSubstr("step -1"));
  EXPECT_THAT(refusal_after([](auto& m) { m.mutable_file(0)->set_name("../x"); }), HasSubstr("'../x' is not a plain name"));
  EXPECT_THAT(refusal_after([](auto& m) { m.mutable_file(0)->set_name(""); }), HasSubstr("is not a plain name"));
  EXPECT_THAT(refusal_after([](auto& m) { m.mutable_file(0)->set_name(".."); }), HasSubstr("is not a plain name"));
  EXPECT_THAT(refusal_after([](auto& m) { m.mutable_file(0)->set_name("/etc/passwd"); }), HasSubstr("is not a plain name"));
  EXPECT_THAT(refusal_after([](auto& m) { m.mutable_file(1)->set_name(m.file(0).name()); }), HasSubstr("is listed twice"));
  EXPECT_THAT(refusal_after([](auto& m) { m.mutable_file(1)->set_size_bytes(-5); }), HasSubstr("has a size of -5 bytes"));
  EXPECT_THAT(refusal_after([](auto& m) {
                m.mutable_file(0)->set_size_bytes(INT64_MAX);
                m.mutable_file(1)->set_size_bytes(INT64_MAX);
              }),
              HasSubstr("has a size of 9223372036854775807 bytes"));
  EXPECT_THAT(refusal_after([](auto& m) { m.mutable_tensor(1)->set_name("a"); }), HasSubstr("tensor 'a' is listed twice"));
  EXPECT_THAT(refusal_after([](auto& m) { m.mutable_tensor(0)->set_dtype("F4"); }),
              HasSubstr("tensor 'a': dtype 'F4' is not taken"));
  EXPECT_THAT(refusal_after([](auto& m) { m.mutable_tensor(0)->set_shape(0, -3); }), HasSubstr("tensor 'a': a dim is -3"));
  EXPECT_THAT(refusal_after([](auto& m) { m.mutable_tensor(0)->set_shape(0, INT64_MAX); }), HasSubstr("has more than"));
  EXPECT_THAT(refusal_after([](auto& m) { m.mutable_tensor(0)->set_shape(0, 4); }),
              HasSubstr("tensor 'a': elements [15, 20) are in no piece"));
  EXPECT_THAT(refusal_after([](auto& m) { m.mutable_tensor(0)->set_shape(0, 2); }), HasSubstr("piece [7, 15)"));
  EXPECT_THAT(refusal_after([](auto& m) { m.mutable_tensor(0)->mutable_piece()->SwapElements(0, 1); }),
              HasSubstr("piece [7, 15) where one from element 0 on was wanted, of 15"));
  EXPECT_THAT(refusal_after([](auto& m) { m.mutable_tensor(0)->mutable_piece(0)->set_end(0); }), HasSubstr("piece [0, 0)"));
  EXPECT_THAT(refusal_after([](auto& m) { m.mutable_tensor(0)->mutable_piece(1)->set_begin(6); }), HasSubstr("piece [6, 15)"));
  EXPECT_THAT(refusal_after([](auto& m) { m.mutable_tensor(0)->mutable_piece(1)->set_file_idx(2); }),
              HasSubstr("file 2 of 2 files"));
  EXPECT_THAT(refusal_after([](auto& m) { m.mutable_tensor(0)->mutable_piece(1)->set_file_idx(-1); }), HasSubstr("file -1 of 2"));
  EXPECT_THAT(refusal_after([](auto& m) { m.mutable_tensor(1)->mutable_piece(0)->set_offset_bytes(400); }),
              HasSubstr("piece [0, 1) at byte 400 leaves 'rank-00000.safetensors' of 400 bytes"));
  EXPECT_THAT(refusal_after([](auto& m) { m.mutable_tensor(1)->mutable_piece(0)->set_offset_bytes(-1); }),
              HasSubstr("at byte -1"));
  EXPECT_THAT(refusal_after([](auto& m) { m.mutable_point()->mutable_state(0)->clear_value(); }), HasSubstr("has no value"));
  EXPECT_THAT(refusal_after([](auto& m) { m.mutable_point()->mutable_state(1)->set_name(m.point().state(0).name()); }),
              HasSubstr("is listed twice"));
  EXPECT_EQ(refusal_after([](auto&) {}), "accepted");
}

// Mutated messages under a right hash: whatever is accepted is a whole inventory inside its files.
TEST(Manifest, MutatedManifestsAreWholeOrRefused) {
  const std::string good = serialize(sample());
  std::mt19937_64 random(7);
  const auto below = [&](std::size_t limit) { return std::uniform_int_distribution<std::size_t>(0, limit - 1)(random); };
  int num_accepted = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = good.substr(0, good.size() - 16);
    for (std::size_t changes = 1 + below(3); changes > 0; --changes) {
      const std::size_t at = below(bytes.size());
      if (below(4)) {
        bytes[at] = static_cast<char>(below(256));
      } else {
        bytes.insert(at, 1 + below(3), static_cast<char>(below(256)));
      }
    }
    schema::Manifest message;
    if (!message.ParseFromString(bytes)) continue;
    try {
      const Manifest manifest = parse(sealed(message));
      ++num_accepted;
      for (const StoredTensor& tensor : manifest.tensors) {
        std::int64_t expected = 0;
        for (const StoredPiece& piece : tensor.pieces) {
          EXPECT_EQ(piece.begin, expected);
          expected = piece.end;
          const StoredFile& file = manifest.files.at(static_cast<std::size_t>(piece.file_idx));
          EXPECT_LE(piece.offset_bytes + (piece.end - piece.begin) * size_in_bytes(tensor.type), file.size_bytes);
        }
        EXPECT_EQ(expected, num_elements(tensor.shape, INT64_MAX, "test"));
      }
    } catch (const FormatError&) {
    }
  }
  EXPECT_GT(num_accepted, 100);
}

}  // namespace
}  // namespace ballast::checkpoint
