#include "runtime/data/text_documents.h"

#include <utility>

namespace ballast::data {

void TextDocuments::add(std::string name, std::string_view text) {
  if (text.empty()) {
    ++num_empty_;
    return;
  }
  bytes_.append(text);
  end_.push_back(static_cast<std::int64_t>(bytes_.size()));
  name_.push_back(std::move(name));
}

void TextDocuments::reserve(std::int64_t num_bytes) { bytes_.reserve(static_cast<std::size_t>(num_bytes)); }

std::string_view TextDocuments::text(std::int64_t document) const {
  const auto d = static_cast<std::size_t>(document);
  const std::int64_t begin = d == 0 ? 0 : end_[d - 1];
  return std::string_view(bytes_).substr(static_cast<std::size_t>(begin), static_cast<std::size_t>(end_[d] - begin));
}

}  // namespace ballast::data
