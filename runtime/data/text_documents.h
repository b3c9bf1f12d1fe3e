#pragma once
// The texts of a corpus in one buffer, before they are tokens.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ballast::data {

/// Documents of bytes, one after another in one buffer. Never holds an empty document: those are counted only.
class TextDocuments {
 public:
  /// Appends a document; an empty text is only counted.
  void add(std::string name, std::string_view text);
  /// Room for this many bytes of text without moving what is there.
  void reserve(std::int64_t num_bytes);

  std::int64_t size() const { return static_cast<std::int64_t>(end_.size()); }
  /// Documents that were dropped because they hold no byte.
  std::int64_t num_empty() const { return num_empty_; }
  /// Input: 0 <= document < size().
  std::string_view text(std::int64_t document) const;
  /// Where the document came from: path below the folder, or file:line.
  const std::string& name(std::int64_t document) const { return name_[static_cast<std::size_t>(document)]; }

 private:
  std::string bytes_;
  std::vector<std::int64_t> end_;
  std::vector<std::string> name_;
  std::int64_t num_empty_ = 0;
};

}  // namespace ballast::data
