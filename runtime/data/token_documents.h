#pragma once
// The documents of a corpus as tokens, wherever they are kept.
#include <cstdint>
#include <span>
#include <string>

namespace ballast::data {

/// Documents of at least one token each, without begin and end marks. Immutable; may be read from several threads.
/// Public calls check their arguments and then call a private virtual.
class TokenDocuments {
 public:
  virtual ~TokenDocuments() = default;
  /// Number of documents.
  std::int64_t size() const { return get_size(); }
  /// Documents of the source that hold no token; they are not among size().
  std::int64_t num_empty() const { return get_num_empty(); }
  /// Units: tokens.
  std::int64_t length(std::int64_t document) const;
  /// Copies tokens [begin, begin + tokens.size()) of a document.
  /// Throws: std::out_of_range for a range outside the document, DataError when the file holds an impossible token.
  void read(std::int64_t document, std::int64_t begin, std::span<std::int32_t> tokens) const;
  /// Where the document came from, for people.
  std::string name(std::int64_t document) const;

 private:
  virtual std::int64_t get_size() const = 0;
  virtual std::int64_t get_num_empty() const = 0;
  virtual std::int64_t get_length(std::int64_t document) const = 0;
  virtual void do_read(std::int64_t document, std::int64_t begin, std::span<std::int32_t> tokens) const = 0;
  virtual std::string get_name(std::int64_t document) const = 0;
  void check_document(std::int64_t document) const;
};

}  // namespace ballast::data
