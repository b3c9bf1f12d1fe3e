#pragma once
// A file as memory.
#include <cstddef>
#include <filesystem>
#include <span>

namespace ballast::data {

/// A whole file, mapped for reading; pages are loaded when touched and shared by the processes of a host.
class MappedFile {
 public:
  /// Throws: DataError when it is missing, not a regular file or cannot be mapped.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace ballast::data
