#pragma once
// Files and folders that survive a power cut once a call has returned.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include "runtime/checkpoint/content_hash.h"

namespace ballast::checkpoint {

/// The operating system refused. The text is "path: operation: reason (NAME)".
class FileError : public std::runtime_error {
 public:
  FileError(const std::filesystem::path& path, const char* operation, int code);
  /// errno of the failed call.
  int code() const { return code_; }

 private:
  int code_;
};

/// A new file, written from front to back, hashed on the way. Every call may throw FileError.
class OutputFile {
 public:
  /// Creates the file; fails where something of that name is already there (O_EXCL), a link included.
  explicit OutputFile(std::filesystem::path path);
  /// Closes an unfinished file; its content is worth nothing then.
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  /// Flushes to the device and closes: only now the content is there to stay.
  void finish();

  std::int64_t size_bytes() const { return size_bytes_; }
  ContentHash hash() const { return hash_.value(); }

 private:
  std::filesystem::path path_;
  StreamingHash hash_;
  std::int64_t size_bytes_ = 0;
  int descriptor_;
};

/// An existing file for reading at any place. Links are refused.
class InputFile {
 public:
  /// Throws: FileError.
  explicit InputFile(std::filesystem::path path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::int64_t size_bytes() const { return size_bytes_; }
  /// Fills `bytes` from `offset` on. Throws: FileError, also (ENODATA) when the file ends before.
  void read(std::int64_t offset, std::span<std::byte> bytes) const;
  /// Cost: reads the whole file once, in blocks.
  ContentHash hash() const;

 private:
  std::filesystem::path path_;
  int descriptor_;
  std::int64_t size_bytes_;
};

/// Makes a folder that must not be there yet. Throws: FileError (EEXIST).
void make_folder(const std::filesystem::path& folder);
/// Makes the folder's entries (new, renamed, removed names) durable. Throws: FileError.
void sync_folder(const std::filesystem::path& folder);
/// Renames without ever replacing what is there. Throws: FileError (EEXIST).
void rename_exclusively(const std::filesystem::path& from, const std::filesystem::path& to);
/// Puts `text` in the place of the file: a reader sees all of the old or all of the new. Throws: FileError.
void replace_file(const std::filesystem::path& path, std::string_view text);
/// Removes a folder and everything in it; links inside are removed, not followed. Throws: FileError.
void remove_folder(const std::filesystem::path& folder);

}  // namespace ballast::checkpoint
