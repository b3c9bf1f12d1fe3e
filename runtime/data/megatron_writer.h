#pragma once
// Writes Megatron's indexed data sets.
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <vector>

#include "runtime/data/megatron_index.h"

namespace ballast::data {

/// Writes `prefix`.bin and `prefix`.idx, one sequence per document, byte for byte as Megatron's own tool does. The files
/// get their names at finish(); without it nothing is left.
class MegatronWriter {
 public:
  /// Throws: DataError when a file of that name exists or cannot be made.
  MegatronWriter(std::filesystem::path prefix, std::int64_t vocab_size);
  ~MegatronWriter();
  MegatronWriter(const MegatronWriter&) = delete;
  MegatronWriter& operator=(const MegatronWriter&) = delete;

  /// Appends a document. An empty one is legal.
  /// Throws: std::invalid_argument for a token outside the vocabulary or a document beyond 2^31 - 1 tokens, DataError when
  /// writing fails.
  void add_document(std::span<const std::int32_t> tokens);
  /// Throws: DataError when writing fails.
  void finish();

 private:
  void check_tokens_file() const;

  std::filesystem::path prefix_;
  std::int64_t vocab_size_;
  TokenType type_;
  std::filesystem::path partial_tokens_;
  std::filesystem::path partial_index_;
  std::ofstream tokens_;
  std::vector<std::int32_t> length_;  // of each document
};

}  // namespace ballast::data
