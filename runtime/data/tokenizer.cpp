#include "runtime/data/tokenizer.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <stdexcept>

#include "runtime/data/byte_tokenizer.h"

namespace ballast::data {
namespace {

struct Row {
  std::string_view name;
  std::unique_ptr<Tokenizer> (*make)();
};
// One row per tokenizer.
constexpr Row kTokenizers[] = {
    {ByteTokenizer::kName, []() -> std::unique_ptr<Tokenizer> { return std::make_unique<ByteTokenizer>(); }},
};

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer(std::string_view name) {
  for (const auto& row : kTokenizers) {
    if (row.name == name) return row.make();
  }
  throw std::invalid_argument(
      fmt::format("data.tokenizer: '{}' is not known; choose one of: {}", name, fmt::join(tokenizer_names(), ", ")));
}

std::vector<std::string_view> tokenizer_names() {
  std::vector<std::string_view> names;
  for (const auto& row : kTokenizers) names.push_back(row.name);
  return names;
}

}  // namespace ballast::data
