#pragma once
// The safetensors file format: little-endian u64 header size, JSON header, data without holes.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/checkpoint/content_hash.h"

namespace ballast::checkpoint {

class InputFile;

/// A file's content is not what it should be. The text begins with the file.
class FormatError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// In the order in which the format's own writer sorts tensors (widest first, so that data stays aligned).
enum class ElementType { kI64, kF64, kF32, kI32, kBF16, kF16, kI16, kF8E4M3, kF8E5M2, kI8, kU8, kBool };

/// Bytes of one element.
std::int64_t size_in_bytes(ElementType type);
/// The format's name of the type: "F32", "BF16", ...
const char* name(ElementType type);
/// Throws: FormatError, for the types of the format that are not taken (F4, U16, C64, ...) too; `where` begins the text.
ElementType element_type(std::string_view name, const std::string& where);
/// Product of a shape, 1 for an empty one. Throws: FormatError for a negative dim or more than `limit` elements.
std::int64_t num_elements(std::span<const std::int64_t> shape, std::int64_t limit, const std::string& where);

/// One tensor of a file. Units: bytes from the beginning of the file.
struct SafetensorsEntry {
  std::string name{};
  ElementType type = ElementType::kU8;
  std::vector<std::int64_t> shape{};
  std::int64_t begin_bytes = 0;
  std::int64_t end_bytes = 0;
};
struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries{};  ///< in the order of their data
  std::map<std::string, std::string> metadata{};
};

/// Reads and checks the header: sizes before any allocation, no duplicate key, ranges that tile the data exactly.
/// Cost: linear in the header, memory a small multiple of it.
/// Throws: FormatError, FileError.
SafetensorsHeader read_safetensors_header(const InputFile& file);

/// One tensor to write; `data` must hold exactly the shape's bytes.
struct SafetensorsTensor {
  std::string name{};
  ElementType type = ElementType::kU8;
  std::vector<std::int64_t> shape{};
  std::span<const std::byte> data{};
};
struct WrittenSafetensors {
  std::int64_t size_bytes = 0;
  ContentHash hash{};
  std::vector<std::int64_t> begin_bytes{};  ///< of each input tensor, from the beginning of the file
};

/// Writes a new file, ordered by type and then name, and makes it durable. Same input, same bytes.
/// Throws: std::invalid_argument for duplicate or unprintable names and sizes that do not fit, FileError.
WrittenSafetensors write_safetensors(const std::filesystem::path& path, std::span<const SafetensorsTensor> tensors);

}  // namespace ballast::checkpoint
