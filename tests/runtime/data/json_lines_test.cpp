#include "runtime/data/json_lines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "runtime/data/data_error.h"
#include "tests/runtime/data/temporary_folder.h"

namespace ballast::data {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

class JsonLines : public ::testing::Test {
 protected:
  TextDocuments read(std::string_view text, std::string_view key = "text") const {
    return read_json_lines(folder_.write("d.jsonl", text), key);
  }
  std::string refusal_of(std::string_view text) const {
    return refusal<DataError>([&] { read(text); });
  }
  TemporaryFolder folder_;
};

TEST_F(JsonLines, ReadsTheMemberOfEachLine) {
  const auto documents = read(
      "{\"text\": \"a\\u00e9\\n\\u0000\", \"meta\": {\"text\": [1, null]}}\r\n"
      "\n"
      "{\"id\": 1e5, \"text\": \"\"}\n"
      "  {\"meta\": [{\"text\": \"no\"}], \"text\": \"last\"}");
  ASSERT_EQ(documents.size(), 2);
  EXPECT_EQ(documents.num_empty(), 1);
  EXPECT_EQ(documents.text(0), std::string_view("a\xc3\xa9\n\0", 5));
  EXPECT_EQ(documents.text(1), "last");
  EXPECT_THAT(documents.name(1), EndsWith("d.jsonl:4"));
}

TEST_F(JsonLines, OtherKey) { EXPECT_EQ(read("{\"body\":\"x\",\"text\":1}", "body").text(0), "x"); }

TEST_F(JsonLines, AnyTextComesBack) {
  std::string all;
  for (int c = 0; c < 128; ++c) all.push_back(static_cast<char>(c));
  all += "\xf0\x9f\x8c\x8d";
  const nlohmann::json object = {{"text", all}};
  EXPECT_EQ(read(object.dump()).text(0), all);
}

TEST_F(JsonLines, ErrorsNameFileAndLine) {
  const std::string good = "{\"text\":\"x\"}\n";
  EXPECT_THAT(refusal_of(good + "\n{\"text\":\"\xff\"}"), HasSubstr("d.jsonl:3:10: syntax error"));
  EXPECT_THAT(refusal_of(good + "{\"text\":\"\xff\"}"), EndsWith("ill-formed UTF-8 byte"));
  EXPECT_THAT(refusal_of(good + "{\"text\":\"\\ud800\"}"), HasSubstr("d.jsonl:2:16: syntax error"));
  EXPECT_THAT(refusal_of(good + good + "{\"text\":\"x\""), HasSubstr("d.jsonl:3:12: syntax error"));
  EXPECT_THAT(refusal_of("{\"text\":\"x\"} {}"), HasSubstr("d.jsonl:1:14: syntax error"));
  EXPECT_THAT(refusal_of("{\"n\":1e999,\"text\":\"x\"}"), HasSubstr("d.jsonl:1:"));
  EXPECT_THAT(refusal_of(good + "{\"body\":\"x\"}"),
              EndsWith("d.jsonl:2: the object has no member \"text\"; correct the line or data.json_lines.text_key"));
  EXPECT_THAT(refusal_of("{\"text\":7}"), EndsWith("d.jsonl:1: member \"text\" is a number; a string is wanted"));
  EXPECT_THAT(refusal_of("{\"text\":[\"a\"]}"), EndsWith("member \"text\" is an array; a string is wanted"));
  EXPECT_THAT(refusal_of("{\"text\":null}"), EndsWith("member \"text\" is null; a string is wanted"));
  EXPECT_THAT(refusal_of("{\"text\":\"a\",\"text\":\"b\"}"), EndsWith("d.jsonl:1: member \"text\" appears twice"));
  EXPECT_THAT(refusal_of("[1]"), EndsWith("d.jsonl:1: an array where an object was wanted"));
  EXPECT_THAT(refusal_of("\"text\""), EndsWith("a string where an object was wanted"));
}

TEST_F(JsonLines, DeepNestingIsRefused) {
  const auto nested = [](std::size_t levels) {
    return "{\"text\":\"x\",\"a\":" + std::string(levels, '[') + std::string(levels, ']') + "}";
  };
  EXPECT_EQ(read(nested(63)).size(), 1);
  EXPECT_THAT(refusal_of(nested(64)), EndsWith("d.jsonl:1: nested deeper than 64 levels"));
  EXPECT_THAT(refusal_of(std::string(1'000'000, '[')), HasSubstr("d.jsonl:1: "));
}

TEST_F(JsonLines, MissingAndEmptyFiles) {
  EXPECT_THAT(refusal<DataError>([&] { read_json_lines(folder_.path("gone"), "text"); }),
              HasSubstr("gone: no such file; data.json_lines.path must name a file"));
  EXPECT_THAT(refusal<DataError>([&] { read_json_lines(folder_.path(), "text"); }), HasSubstr("no such file"));
  EXPECT_THAT(refusal_of(""), EndsWith("holds no object in 0 lines"));
  EXPECT_THAT(refusal_of("\n \n"), EndsWith("holds no object in 2 lines"));
}

}  // namespace
}  // namespace ballast::data
