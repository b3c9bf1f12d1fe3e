#include "runtime/data/token_documents.h"

#include <fmt/core.h>

#include <stdexcept>

namespace ballast::data {

void TokenDocuments::check_document(std::int64_t document) const {
  if (document < 0 || document >= size()) {
    throw std::out_of_range(fmt::format("document {} of a corpus of {}", document, size()));
  }
}

std::int64_t TokenDocuments::length(std::int64_t document) const {
  check_document(document);
  return get_length(document);
}

void TokenDocuments::read(std::int64_t document, std::int64_t begin, std::span<std::int32_t> tokens) const {
  const std::int64_t available = length(document);
  const auto count = static_cast<std::int64_t>(tokens.size());
  if (begin < 0 || begin > available || count > available - begin) {
    throw std::out_of_range(
        fmt::format("tokens [{}, {} + {}) of document {}, which has {}", begin, begin, count, document, available));
  }
  if (count > 0) do_read(document, begin, tokens);
}

std::string TokenDocuments::name(std::int64_t document) const {
  check_document(document);
  return get_name(document);
}

}  // namespace ballast::data
