#include "runtime/data/megatron_index.h"

#include <fmt/core.h>

#include <bit>
#include <cstring>
#include <string>

#include "runtime/data/data_error.h"

namespace ballast::data {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

struct Row {
  std::uint8_t code;
  std::int64_t num_bytes;  // 0: known to the format, but not tokens
};
constexpr Row kTypes[] = {{1, 1}, {2, 1}, {3, 2}, {4, 4}, {5, 8}, {6, 0}, {7, 0}, {8, 2}};

/// Array of T in the file, which need not be aligned.
template <typename T>
class Array {
 public:
  Array(std::span<const std::byte> bytes, std::int64_t offset) : bytes_(bytes), offset_(offset) {}
  std::int64_t offset(std::int64_t i) const { return offset_ + i * static_cast<std::int64_t>(sizeof(T)); }
  T operator[](std::int64_t i) const {
    T value;
    std::memcpy(&value, bytes_.subspan(static_cast<std::size_t>(offset(i)), sizeof(T)).data(), sizeof(T));
    return value;
  }

 private:
  std::span<const std::byte> bytes_;
  std::int64_t offset_;
};

}  // namespace

std::int64_t size_in_bytes(TokenType type) {
  for (const auto& row : kTypes) {
    if (row.code == static_cast<std::uint8_t>(type)) return row.num_bytes;
  }
  return 0;
}

TokenType token_type_for_vocabulary(std::int64_t vocab_size) {
  return vocab_size < 65500 ? TokenType::kUint16 : TokenType::kInt32;
}

MegatronIndex parse_megatron_index(std::span<const std::byte> bytes, std::int64_t bin_bytes, std::string_view file) {
  const auto refuse = [&](std::int64_t offset, const std::string& what) {
    throw DataError(fmt::format("{}: offset {}: {}", file, offset, what));
  };
  const auto size = static_cast<std::int64_t>(bytes.size());
  if (size < kMegatronHeaderBytes) {
    refuse(size, fmt::format("the file ends; a header has {} bytes", kMegatronHeaderBytes));
  }
  if (std::memcmp(bytes.data(), kMegatronMagic.data(), kMegatronMagic.size()) != 0) {
    refuse(0, "does not begin with MMIDIDX; this is not the index of a Megatron data set");
  }
  if (const auto version = Array<std::uint64_t>(bytes, 9)[0]; version != 1) {
    refuse(9, fmt::format("version {}; only 1 is known", version));
  }
  const auto code = std::to_integer<std::uint8_t>(bytes[17]);
  const auto type = static_cast<TokenType>(code);
  const std::int64_t token_bytes = size_in_bytes(type);
  if (token_bytes == 0) {
    refuse(17, fmt::format("type code {} is not an integer type of tokens (1 to 5 or 8)", code));
  }

  // Counts are compared with what is left of the file, by division, so that no product can overflow.
  const auto given_sequences = Array<std::uint64_t>(bytes, 18)[0];
  if (given_sequences > static_cast<std::uint64_t>(size - kMegatronHeaderBytes) / 12) {
    refuse(18, fmt::format("{} sequences need 12 bytes each; {} bytes are left", given_sequences, size - kMegatronHeaderBytes));
  }
  const auto num_sequences = static_cast<std::int64_t>(given_sequences);
  const std::int64_t boundaries_offset = kMegatronHeaderBytes + 12 * num_sequences;
  const auto given_boundaries = Array<std::uint64_t>(bytes, 26)[0];
  if (given_boundaries < 1 || given_boundaries > static_cast<std::uint64_t>(size - boundaries_offset) / 8) {
    refuse(26, fmt::format("{} document boundaries of 8 bytes each; at least 1 is needed and {} bytes are left", given_boundaries,
                           size - boundaries_offset));
  }
  const auto num_boundaries = static_cast<std::int64_t>(given_boundaries);
  const std::int64_t end = boundaries_offset + 8 * num_boundaries;
  if (size != end) {
    refuse(end, size == end + num_sequences ? fmt::format("{} modes follow: multimodal data sets cannot be read", num_sequences)
                                            : fmt::format("{} bytes follow the last document boundary", size - end));
  }

  const Array<std::int32_t> length(bytes, kMegatronHeaderBytes);
  const Array<std::int64_t> offset(bytes, kMegatronHeaderBytes + 4 * num_sequences);
  const Array<std::int64_t> boundary(bytes, boundaries_offset);
  if (boundary[0] != 0) refuse(boundary.offset(0), fmt::format("the first document begins at sequence {}, not 0", boundary[0]));
  for (std::int64_t d = 1; d < num_boundaries; ++d) {
    if (boundary[d] < boundary[d - 1] || boundary[d] > num_sequences) {
      refuse(boundary.offset(d), fmt::format("document boundary {} after {} is not in order or beyond {} sequences", boundary[d],
                                             boundary[d - 1], num_sequences));
    }
  }
  if (boundary[num_boundaries - 1] != num_sequences) {
    refuse(boundary.offset(num_boundaries - 1),
           fmt::format("the last document ends at sequence {} of {}", boundary[num_boundaries - 1], num_sequences));
  }

  MegatronIndex index{type, num_sequences, {}};
  index.document_begin.reserve(static_cast<std::size_t>(num_boundaries));
  const std::int64_t bin_tokens = bin_bytes / token_bytes;
  std::int64_t begin = 0;  // of sequence s, in tokens
  std::int64_t d = 0;
  for (std::int64_t s = 0; s < num_sequences; ++s) {
    if (length[s] < 0 || length[s] > bin_tokens - begin) {
      refuse(length.offset(s), fmt::format("sequence {} has {} tokens; the .bin file of {} bytes has {} left for it", s,
                                           length[s], bin_bytes, bin_tokens - begin));
    }
    if (offset[s] != begin * token_bytes) {
      refuse(offset.offset(s), fmt::format("sequence {} begins at byte {} of the .bin file; the sequences before it end at {}", s,
                                           offset[s], begin * token_bytes));
    }
    for (; boundary[d] == s; ++d) index.document_begin.push_back(begin);
    begin += length[s];
  }
  for (; d < num_boundaries; ++d) index.document_begin.push_back(begin);
  if (begin * token_bytes != bin_bytes) {
    refuse(size, fmt::format("the sequences end at byte {} of the .bin file, which has {}; the two files do not belong together",
                             begin * token_bytes, bin_bytes));
  }
  return index;
}

}  // namespace ballast::data
