#include "runtime/checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <rapidcheck.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>
#include <random>

#include "runtime/checkpoint/durable_file.h"
#include "tests/runtime/checkpoint/training_state.h"

namespace {

std::atomic<std::size_t> live_bytes = 0;
std::atomic<std::size_t> peak_bytes = 0;

void* counted_new(std::size_t size) {
  void* memory = std::malloc(size ? size : 1);
  if (!memory) throw std::bad_alloc();
  const std::size_t live = live_bytes += malloc_usable_size(memory);
  std::size_t peak = peak_bytes;
  while (live > peak && !peak_bytes.compare_exchange_weak(peak, live)) {
  }
  return memory;
}

void counted_delete(void* memory) {
  if (memory) live_bytes -= malloc_usable_size(memory);
  std::free(memory);
}

}  // namespace

// The whole program counts, so that a test can say how much a parser takes.
void* operator new(std::size_t size) { return counted_new(size); }
void operator delete(void* memory) noexcept { counted_delete(memory); }
void operator delete(void* memory, std::size_t) noexcept { counted_delete(memory); }

namespace ballast::checkpoint {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string with_length(const std::string& header, const std::string& data = "") {
  const std::uint64_t size = header.size();
  return std::string(reinterpret_cast<const char*>(&size), 8) + header + data;
}

class Safetensors : public ::testing::Test {
 protected:
  std::filesystem::path path() const { return scratch_.path() / "x.safetensors"; }
  SafetensorsHeader read(const std::string& bytes) const {
    write_file(path(), bytes);
    return read_safetensors_header(InputFile(path()));
  }
  std::string refusal(const std::string& bytes) const {
    try {
      read(bytes);
    } catch (const FormatError& error) {
      EXPECT_THAT(error.what(), ::testing::StartsWith(path().string() + ": "));
      return error.what();
    }
    return "accepted";
  }
  ScratchFolder scratch_;
};

TEST_F(Safetensors, WritesTheBytesOfTheFormat) {
  const std::vector<float> a = {1.0f, 2.0f};
  const std::vector<std::uint8_t> b = {7, 8, 9};
  const std::vector<SafetensorsTensor> tensors = {
      {"b", ElementType::kU8, {3}, std::as_bytes(std::span(b))},
      {"z", ElementType::kF32, {2, 1}, std::as_bytes(std::span(a))},
      {"a\"", ElementType::kF32, {}, std::as_bytes(std::span(a).first(1))},
  };
  const WrittenSafetensors written = write_safetensors(path(), tensors);
  // Widest type first, then names; header padded to a multiple of 8.
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"a\"":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
      R"("z":{"dtype":"F32","shape":[2,1],"data_offsets":[4,12]},"b":{"dtype":"U8","shape":[3],"data_offsets":[12,15]}})";
  const std::string padded = header + std::string((8 - header.size() % 8) % 8, ' ');
  std::string data(15, '\0');
  std::memcpy(data.data(), a.data(), 4);
  std::memcpy(data.data() + 4, a.data(), 8);
  std::memcpy(data.data() + 12, b.data(), 3);
  const std::string file = read_file(path());
  EXPECT_EQ(file, with_length(padded, data));
  EXPECT_EQ(written.size_bytes, static_cast<std::int64_t>(file.size()));
  EXPECT_EQ(written.hash, content_hash(std::as_bytes(std::span(file))));
  const auto begin = static_cast<std::int64_t>(8 + padded.size());
  EXPECT_THAT(written.begin_bytes, ElementsAre(begin + 12, begin + 4, begin));
}

TEST_F(Safetensors, ReadsWhatItWroteWhateverTheTensors) {
  EXPECT_TRUE(rc::check("round trip", [&] {
    const ScratchFolder scratch;
    const auto count = *rc::gen::inRange<std::size_t>(0, 12);
    std::list<std::vector<std::byte>> memory;
    std::vector<SafetensorsTensor> tensors;
    for (std::size_t i = 0; i < count; ++i) {
      const auto type = static_cast<ElementType>(*rc::gen::inRange(0, 12));
      const auto shape = *rc::gen::container<std::vector<std::int64_t>>(rc::gen::inRange<std::int64_t>(0, 4));
      if (shape.size() > 6) continue;
      memory.emplace_back(static_cast<std::size_t>(num_elements(shape, 1 << 20, "test") * size_in_bytes(type)), std::byte(i));
      tensors.push_back({"t" + std::to_string(i * 7 % 12), type, shape, memory.back()});
    }
    const auto file = scratch.path() / "f";
    const WrittenSafetensors written = write_safetensors(file, tensors);
    const SafetensorsHeader header = read_safetensors_header(InputFile(file));
    RC_ASSERT(header.entries.size() == tensors.size());
    RC_ASSERT(header.metadata == (std::map<std::string, std::string>{{"format", "pt"}}));
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const auto entry = std::ranges::find(header.entries, tensors[i].name, &SafetensorsEntry::name);
      RC_ASSERT(entry != header.entries.end());
      RC_ASSERT(entry->type == tensors[i].type && entry->shape == tensors[i].shape);
      RC_ASSERT(entry->begin_bytes == written.begin_bytes[i]);
      RC_ASSERT(entry->end_bytes == written.begin_bytes[i] + static_cast<std::int64_t>(tensors[i].data.size()));
      RC_ASSERT(entry->begin_bytes % size_in_bytes(entry->type) == 0);
    }
  }));
}

TEST_F(Safetensors, WriterRefusesWhatItCannotSay) {
  const std::vector<std::byte> two(2);
  const auto refused = [&](std::vector<SafetensorsTensor> tensors) {
    try {
      write_safetensors(path(), tensors);
    } catch (const std::invalid_argument& error) {
      EXPECT_FALSE(std::filesystem::exists(path()));
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_THAT(refused({{"a", ElementType::kU8, {2}, two}, {"a", ElementType::kU8, {2}, two}}), HasSubstr("'a' is given twice"));
  EXPECT_THAT(refused({{"a", ElementType::kU8, {3}, two}}), HasSubstr("2 bytes given, shape and type want 3"));
  EXPECT_THAT(refused({{"", ElementType::kU8, {2}, two}}), HasSubstr("a name has 1 to 4096 bytes"));
  EXPECT_THAT(refused({{"__metadata__", ElementType::kU8, {2}, two}}), HasSubstr("is not __metadata__"));
  EXPECT_THAT(refused({{"\xff", ElementType::kU8, {2}, two}}), HasSubstr("not UTF-8"));
  EXPECT_THAT(refused({{"a", ElementType::kU8, {-2}, two}}), HasSubstr("a dim is -2"));
  EXPECT_THAT(refused({{"a", ElementType::kF64, {1ll << 40, 1ll << 40}, two}}), HasSubstr("has more than"));
  write_file(path(), "there already");
  EXPECT_THROW(write_safetensors(path(), std::vector<SafetensorsTensor>{}), FileError);
}

TEST_F(Safetensors, TakesLegalOddities) {
  EXPECT_TRUE(read(with_length("{}")).entries.empty());
  EXPECT_EQ(read(with_length("{}      ")).entries.size(), 0u);
  const auto header =
      read(with_length(R"({"b":{"shape":[0,9999999999],"data_offsets":[4,4],"dtype":"F64"},"é":{"dtype":"F32","shape":[],)"
                       R"("data_offsets":[0,4]},"__metadata__":{"k":"v","":""}})",
                       "abcd"));
  ASSERT_EQ(header.entries.size(), 2u);
  EXPECT_EQ(header.entries[0].name, "é");
  EXPECT_EQ(header.entries[1].end_bytes, header.entries[1].begin_bytes);
  EXPECT_EQ(header.metadata.at("k"), "v");
}

TEST_F(Safetensors, RefusesEveryAttack) {
  const auto entry = [](const std::string& fields) { return with_length("{\"t\":{" + fields + "}}", "12345678"); };
  EXPECT_THAT(refusal(""), HasSubstr("0 bytes are too few"));
  EXPECT_THAT(refusal("1234567"), HasSubstr("7 bytes are too few"));
  EXPECT_THAT(refusal(std::string(8, '\xff')),
              HasSubstr("offset 0: header of 18446744073709551615 bytes; a file of 8 bytes has"));
  EXPECT_THAT(refusal(std::string("\x03\0\0\0\0\0\0\0{}", 10)), HasSubstr("header of 3 bytes"));
  EXPECT_THAT(refusal(std::string(8, '\0') + "{}"), HasSubstr("header of 0 bytes"));
  EXPECT_THAT(refusal(with_length(" {}")), HasSubstr("does not begin with '{'"));
  EXPECT_THAT(refusal(with_length("{\"a\"")), HasSubstr("not JSON at byte"));
  EXPECT_THAT(refusal(with_length("{}{}")), HasSubstr("not JSON at byte"));
  EXPECT_THAT(refusal(with_length("{\"\xff\":{}}")), HasSubstr("not JSON at byte"));
  EXPECT_THAT(refusal(with_length("{\"a\":1}")), HasSubstr("a number where the format has none (after key 'a')"));
  EXPECT_THAT(refusal(with_length("{\"a\":[]}")), HasSubstr("a list where"));
  EXPECT_THAT(refusal(with_length("{\"a\":null}")), HasSubstr("null where"));
  EXPECT_THAT(refusal(with_length("{\"a\":true}")), HasSubstr("a truth value where"));
  EXPECT_THAT(refusal(with_length("{\"a\":\"x\"}")), HasSubstr("a string where"));
  EXPECT_THAT(refusal(with_length(R"({"__metadata__":{"a":{"b":"c"}}})")), HasSubstr("an object where"));
  EXPECT_THAT(refusal(with_length(R"({"__metadata__":{"a":1}})")), HasSubstr("a number where"));
  EXPECT_THAT(refusal(with_length(R"({"__metadata__":{"a":"1","a":"2"}})")), HasSubstr("'__metadata__' has 'a' twice"));
  EXPECT_THAT(refusal(with_length(R"({"__metadata__":{},"__metadata__":{}})")), HasSubstr("'__metadata__' is there twice"));
  EXPECT_THAT(refusal(with_length("{\"a\":" + std::string(100'000, '['))), HasSubstr("a list where"));
  EXPECT_THAT(refusal(with_length("{\"" + std::string(5000, 'n') + "\":{}}")), HasSubstr("name has 5000 bytes; at most 4096"));

  EXPECT_THAT(refusal(entry(R"("dtype":"U8","shape":[8])")), HasSubstr("tensor 't' lacks dtype, shape or two data_offsets"));
  EXPECT_THAT(refusal(entry(R"("dtype":"U8","shape":[8],"data_offsets":[8])")), HasSubstr("lacks dtype, shape or two"));
  EXPECT_THAT(refusal(entry(R"("dtype":"U8","shape":[8],"data_offsets":[0,8,9])")), HasSubstr("more than 2 numbers"));
  EXPECT_THAT(refusal(entry(R"("dtype":"U8","shape":[8],"data_offsets":[0,8],"x":1)")), HasSubstr("unknown field 'x'"));
  EXPECT_THAT(refusal(entry(R"("dtype":"U8","shape":[8],"shape":[8],"data_offsets":[0,8])")), HasSubstr("has 'shape' twice"));
  EXPECT_THAT(refusal(entry(R"("dtype":"U8","shape":[[8]],"data_offsets":[0,8])")), HasSubstr("a list where"));
  EXPECT_THAT(refusal(entry(R"("dtype":"U8","shape":8,"data_offsets":[0,8])")), HasSubstr("a number where"));
  EXPECT_THAT(refusal(entry(R"("dtype":"U8","shape":[-8],"data_offsets":[0,8])")), HasSubstr("-8 is negative"));
  EXPECT_THAT(refusal(entry(R"("dtype":"U8","shape":[8.0],"data_offsets":[0,8])")), HasSubstr("8.0 is not a whole number"));
  EXPECT_THAT(refusal(entry(R"("dtype":"U8","shape":[1e1],"data_offsets":[0,8])")), HasSubstr("1e1 is not a whole number"));
  EXPECT_THAT(refusal(entry(R"("dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,8])")),
              HasSubstr("beyond any size"));
  EXPECT_THAT(refusal(entry(R"("dtype":"F4","shape":[16],"data_offsets":[0,8])")),
              HasSubstr("dtype 'F4' is not taken; known are I64 F64"));
  EXPECT_THAT(refusal(entry(R"("dtype":"U64","shape":[1],"data_offsets":[0,8])")), HasSubstr("dtype 'U64' is not taken"));
  EXPECT_THAT(refusal(entry(R"("dtype":"U8","shape":[9],"data_offsets":[0,9])")), HasSubstr("[0, 9] leave the 8 bytes of data"));
  EXPECT_THAT(refusal(entry(R"("dtype":"U8","shape":[2],"data_offsets":[4,2])")), HasSubstr("[4, 2] leave"));
  EXPECT_THAT(refusal(entry(R"("dtype":"F32","shape":[4],"data_offsets":[0,8])")), HasSubstr("has more than 2 elements"));
  EXPECT_THAT(refusal(entry(R"("dtype":"F32","shape":[1],"data_offsets":[0,8])")),
              HasSubstr("hold 8 bytes, shape and dtype want 4"));
  // The product wraps to 0 in 64 bits.
  EXPECT_THAT(refusal(entry(R"("dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0])")),
              HasSubstr("shape [4294967296, 4294967296] has more than 8 elements"));
  EXPECT_THAT(refusal(entry(R"("dtype":"U8","shape":[7],"data_offsets":[0,7])")), HasSubstr("no tensor claims the last 1 bytes"));
  EXPECT_THAT(refusal(entry(R"("dtype":"U8","shape":[7],"data_offsets":[1,8])")), HasSubstr("leaving a hole from byte"));
  EXPECT_THAT(refusal(with_length("{}", "x")), HasSubstr("no tensor claims the last 1 bytes"));
  std::string dims = "1";
  for (int i = 0; i < 64; ++i) dims += ",1";
  EXPECT_THAT(refusal(entry(R"("dtype":"U8","shape":[)" + dims + R"(],"data_offsets":[0,1])")),
              HasSubstr("more than 64 numbers"));

  const std::string overlap = R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],)"
                              R"("data_offsets":[2,6]},"c":{"dtype":"U8","shape":[0],"data_offsets":[8,8]}})";
  EXPECT_THAT(refusal(with_length(overlap, "12345678")), HasSubstr("tensor 'b' begins at byte"));
  EXPECT_THAT(refusal(with_length(overlap, "12345678")), HasSubstr("inside the tensor before it"));
}

TEST_F(Safetensors, ManyEntriesOverTheSameBytesAreRefusedAtTheSecond) {
  std::string header = "{";
  for (int i = 0; i < 200'000; ++i)
    header += (i ? ",\"" : "\"") + std::to_string(i) + R"(":{"dtype":"U8","shape":[8],"data_offsets":[0,8]})";
  EXPECT_THAT(refusal(with_length(header + "}", "12345678")),
              HasSubstr("tensor '1': the tensors claim more than the 8 bytes of data, so some overlap"));
}

// Mutations of good files: whatever is accepted tiles the data, and no file makes the reader take memory out of proportion.
TEST_F(Safetensors, MutatedFilesAreTiledOrRefused) {
  const std::vector<std::string> seeds = {
      with_length(
          R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[2,3],"data_offsets":[8,14]}})",
          "abcdefghijklmn"),
      with_length(R"({"__metadata__":{"format":"pt"},"x":{"dtype":"BF16","shape":[],"data_offsets":[0,2]},)"
                  R"("y":{"dtype":"I64","shape":[0],"data_offsets":[2,2]}})",
                  "ab"),
      with_length("{}")};
  const std::vector<std::string> words = {
      "\"", "{",   "}",    "[",  "]",    ",",       ":",    "0",      "9",         "18446744073709551616",
      "-1", "1e9", "null", "F4", "BOOL", "\\u0000", "\xff", "\"a\":", "\"shape\"", "[0,0]"};
  std::mt19937_64 random(20240607);
  const auto below = [&](std::size_t limit) { return std::uniform_int_distribution<std::size_t>(0, limit - 1)(random); };
  int num_accepted = 0;
  for (int i = 0; i < 4000; ++i) {
    std::string bytes = seeds[below(seeds.size())];
    for (std::size_t changes = 1 + below(3); changes > 0 && !bytes.empty(); --changes) {
      const std::size_t at = below(bytes.size());
      switch (below(5)) {
        case 0:
          bytes[at] = static_cast<char>(below(256));
          break;
        case 1:
          bytes.erase(at, 1 + below(4));
          break;
        case 2:
          bytes.insert(at, words[below(words.size())]);
          break;
        case 3:
          bytes.resize(at);
          break;
        case 4:
          bytes.insert(at, bytes.substr(below(bytes.size()), below(40)));
          break;
      }
      // Half of the time the length prefix is made to fit again, so that the change reaches the JSON.
      const auto brace = bytes.rfind('}');
      if (below(2) && brace != std::string::npos && brace >= 8)
        bytes = with_length(bytes.substr(8, brace - 7), bytes.substr(brace + 1));
    }
    write_file(path(), bytes);
    const std::size_t before = live_bytes;
    peak_bytes = before;
    try {
      const SafetensorsHeader header = read_safetensors_header(InputFile(path()));
      ++num_accepted;
      std::int64_t at = header.entries.empty() ? static_cast<std::int64_t>(bytes.size()) : header.entries.front().begin_bytes;
      for (const SafetensorsEntry& each : header.entries) {
        EXPECT_EQ(each.begin_bytes, at);
        EXPECT_EQ(each.end_bytes - each.begin_bytes, num_elements(each.shape, 1 << 20, "test") * size_in_bytes(each.type));
        at = each.end_bytes;
      }
      EXPECT_EQ(at, static_cast<std::int64_t>(bytes.size()));
    } catch (const FormatError&) {
    }
    EXPECT_LE(peak_bytes - before, 16 * bytes.size() + (1 << 20));
  }
  EXPECT_GT(num_accepted, 20) << "the mutations are too wild to reach the checks behind the first";
}

}  // namespace
}  // namespace ballast::checkpoint
