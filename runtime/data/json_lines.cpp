#include "runtime/data/json_lines.h"

#include <fmt/core.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "runtime/data/data_error.h"

namespace ballast::data {
namespace {

/// Picks one string member of one object as the parser walks by, so that the rest of the object takes no memory.
class TextMember final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit TextMember(std::string_view key) : key_(key) {}

  bool null() override { return scalar("null"); }
  bool boolean(bool) override { return scalar("a boolean"); }
  bool number_integer(number_integer_t) override { return scalar("a number"); }
  bool number_unsigned(number_unsigned_t) override { return scalar("a number"); }
  bool number_float(number_float_t, const string_t&) override { return scalar("a number"); }
  bool binary(binary_t&) override { return scalar("binary"); }
  bool string(string_t& value) override {
    if (!std::exchange(is_wanted_, false)) return scalar("a string");
    text = std::move(value);
    return true;
  }
  bool start_object(std::size_t) override { return open("an object", true); }
  bool start_array(std::size_t) override { return open("an array", false); }
  bool end_object() override { return --depth_, true; }
  bool end_array() override { return --depth_, true; }
  bool key(string_t& name) override {
    if (depth_ != 1 || name != key_) return true;
    if (text) return fail(fmt::format("member \"{}\" appears twice", key_));
    return is_wanted_ = true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception& error) override {
    // The library's text ends with the bytes that it read last, which may be anything: left out.
    std::string_view reason = error.what();
    if (const auto begin = reason.find("syntax error"); begin != reason.npos) reason.remove_prefix(begin);
    column = position;
    return fail(std::string(reason.substr(0, reason.find("; last read"))));
  }

  std::optional<std::string> text;
  std::string problem;
  std::optional<std::size_t> column;

 private:
  static constexpr int kMaxDepth = 64;

  bool fail(std::string what) {
    problem = std::move(what);
    return false;
  }
  bool scalar(std::string_view what) {
    if (depth_ == 0) return fail(fmt::format("{} where an object was wanted", what));
    return !is_wanted_ || fail(fmt::format("member \"{}\" is {}; a string is wanted", key_, what));
  }
  bool open(std::string_view what, bool is_object) {
    if (depth_ > 0 || !is_object) {
      if (!scalar(what)) return false;
    }
    return ++depth_ <= kMaxDepth || fail(fmt::format("nested deeper than {} levels", kMaxDepth));
  }

  std::string_view key_;
  int depth_ = 0;
  bool is_wanted_ = false;  // the next value is the member's
};

}  // namespace

TextDocuments read_json_lines(const std::filesystem::path& file, std::string_view text_key) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(file, error)) {
    throw DataError(
        fmt::format("{}: no such file; data.json_lines.path must name a file with one JSON object per line", file.string()));
  }
  std::ifstream in(file, std::ios::binary);
  if (!in) throw DataError(fmt::format("{}: cannot be opened for reading", file.string()));

  TextDocuments documents;
  std::int64_t number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    TextMember member(text_key);
    const bool is_valid = nlohmann::json::sax_parse(line, &member);
    if (is_valid && !member.text) {
      member.problem = fmt::format("the object has no member \"{}\"; correct the line or data.json_lines.text_key", text_key);
    }
    if (!member.problem.empty()) {
      const auto column = member.column ? fmt::format(":{}", *member.column) : std::string();
      throw DataError(fmt::format("{}:{}{}: {}", file.string(), number, column, member.problem));
    }
    documents.add(fmt::format("{}:{}", file.string(), number), *member.text);
  }
  if (in.bad()) throw DataError(fmt::format("{}: reading failed after line {}", file.string(), number));
  if (documents.size() + documents.num_empty() == 0) {
    throw DataError(fmt::format("{}: holds no object in {} lines", file.string(), number));
  }
  return documents;
}

}  // namespace ballast::data
