#pragma once
// The .idx file of Megatron's indexed data sets.
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace ballast::data {

/// Integer type of the tokens in a .bin file; the value is the code in the .idx file.
enum class TokenType : std::uint8_t { kUint8 = 1, kInt8 = 2, kInt16 = 3, kInt32 = 4, kInt64 = 5, kUint16 = 8 };

/// Bytes of one token.
std::int64_t size_in_bytes(TokenType type);

/// Type that Megatron writes for a vocabulary: uint16 below 65,500 tokens, else int32.
TokenType token_type_for_vocabulary(std::int64_t vocab_size);

/// Where the documents lie in the .bin file.
struct MegatronIndex {
  TokenType type = TokenType::kUint16;
  std::int64_t num_sequences = 0;
  std::vector<std::int64_t> document_begin;  // in tokens, one per document, and the number of all tokens
};

constexpr std::int64_t kMegatronHeaderBytes = 34;
constexpr std::array<char, 9> kMegatronMagic{'M', 'M', 'I', 'D', 'I', 'D', 'X', '\0', '\0'};

/// Reads the bytes of an .idx file that goes with a .bin file of `bin_bytes` bytes. An accepted index covers the .bin file
/// exactly, in order.
/// Input: `file` is only for messages. Cost: linear; nothing is allocated before all counts are known to fit the file.
/// Throws: DataError with file, offset and numbers for anything else, multimodal and floating-point data sets included.
/// Source: NVIDIA/Megatron-LM, megatron/core/datasets/indexed_dataset.py.
MegatronIndex parse_megatron_index(std::span<const std::byte> bytes, std::int64_t bin_bytes, std::string_view file);

}  // namespace ballast::data
