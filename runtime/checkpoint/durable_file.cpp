#include "runtime/checkpoint/durable_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#include "runtime/checkpoint/fault_hook.h"

namespace ballast::checkpoint {
namespace {

constexpr std::size_t kBlockBytes = 8 << 20;

std::string describe(int code) {
  const char* symbol = strerrorname_np(code);
  return fmt::format("{} ({})", std::strerror(code), symbol ? symbol : "unknown");
}

/// Runs one system call again while signals interrupt it. Throws: FileError.
template <class Call>
auto checked(const std::filesystem::path& path, const char* operation, Call call) {
  while (true) {
    const auto result = call();
    if (result >= 0) return result;
    if (errno != EINTR) throw FileError(path, operation, errno);
  }
}

/// The same for a call that changes files, where a test may want a failure.
template <class Call>
auto checked_change(const std::filesystem::path& path, const char* operation, Call call) {
  if (const int code = fault_before_call()) throw FileError(path, operation, code);
  return checked(path, operation, call);
}

int open_to_read(const std::filesystem::path& path, int more_flags) {
  return checked(path, "open", [&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | more_flags); });
}

}  // namespace

FileError::FileError(const std::filesystem::path& path, const char* operation, int code)
    : std::runtime_error(fmt::format("{}: {}: {}", path.string(), operation, describe(code))), code_(code) {}

OutputFile::OutputFile(std::filesystem::path path)
    : path_(std::move(path)), descriptor_(checked_change(path_, "create", [&] {
        return ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
      })) {}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void OutputFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto block = bytes.first(std::min(bytes.size(), kBlockBytes));
    const ssize_t written = checked_change(path_, "write", [&] { return ::write(descriptor_, block.data(), block.size()); });
    const auto done = block.first(static_cast<std::size_t>(written));
    hash_.add(done);
    size_bytes_ += written;
    bytes = bytes.subspan(done.size());
  }
}

void OutputFile::finish() {
  checked_change(path_, "fsync", [&] { return ::fsync(descriptor_); });
  if (const int code = fault_before_call()) throw FileError(path_, "close", code);
  // Linux frees the descriptor whatever close returns, so it is never closed twice.
  if (::close(std::exchange(descriptor_, -1)) != 0) throw FileError(path_, "close", errno);
}

// O_NONBLOCK: a pipe of that name must be refused, not waited for.
InputFile::InputFile(std::filesystem::path path) : path_(std::move(path)), descriptor_(open_to_read(path_, O_NONBLOCK)) {
  struct stat status = {};
  const int code = ::fstat(descriptor_, &status) != 0 ? errno : S_ISREG(status.st_mode) ? 0 : EISDIR;
  if (code) {
    ::close(descriptor_);
    throw FileError(path_, "open as a regular file", code);
  }
  size_bytes_ = status.st_size;
}

InputFile::~InputFile() { ::close(descriptor_); }

void InputFile::read(std::int64_t offset, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t got = checked(path_, "read", [&] { return ::pread(descriptor_, bytes.data(), bytes.size(), offset); });
    if (got == 0) throw FileError(path_, "read", ENODATA);
    offset += got;
    bytes = bytes.subspan(static_cast<std::size_t>(got));
  }
}

ContentHash InputFile::hash() const {
  StreamingHash hash;
  std::vector<std::byte> block(static_cast<std::size_t>(std::min<std::int64_t>(size_bytes_, kBlockBytes)));
  for (std::int64_t offset = 0; offset < size_bytes_;) {
    const auto part = std::span(block).first(static_cast<std::size_t>(std::min<std::int64_t>(size_bytes_ - offset, kBlockBytes)));
    read(offset, part);
    hash.add(part);
    offset += static_cast<std::int64_t>(part.size());
  }
  return hash.value();
}

void make_folder(const std::filesystem::path& folder) {
  checked_change(folder, "mkdir", [&] { return ::mkdir(folder.c_str(), 0700); });
}

void sync_folder(const std::filesystem::path& folder) {
  const int descriptor = open_to_read(folder, O_DIRECTORY);
  const int fault = fault_before_call();
  const int code = fault ? fault : ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  if (code) throw FileError(folder, "fsync", code);
}

void rename_exclusively(const std::filesystem::path& from, const std::filesystem::path& to) {
  checked_change(to, "rename", [&] {
    const int result = ::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE);
    if (result == 0 || errno != EINVAL) return result;
    // A file system without RENAME_NOREPLACE. The only taker of these names is the holder of the run folder's lock, and a
    // plain rename still cannot replace a folder that holds anything.
    struct stat status = {};
    if (::lstat(to.c_str(), &status) == 0) {
      errno = EEXIST;
      return -1;
    }
    return ::rename(from.c_str(), to.c_str());
  });
}

void replace_file(const std::filesystem::path& path, std::string_view text) {
  const std::filesystem::path fresh = path.string() + ".tmp";
  if (::unlink(fresh.c_str()) != 0 && errno != ENOENT) throw FileError(fresh, "unlink", errno);
  OutputFile file(fresh);
  file.write(text);
  file.finish();
  checked_change(path, "rename", [&] { return ::rename(fresh.c_str(), path.c_str()); });
  sync_folder(path.has_parent_path() ? path.parent_path() : ".");
}

void remove_folder(const std::filesystem::path& folder) {
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const bool is_folder = entry->is_directory(error) && !entry->is_symlink(error);
    if (is_folder) {
      remove_folder(entry->path());
    } else {
      checked_change(entry->path(), "unlink", [&] { return ::unlink(entry->path().c_str()); });
    }
  }
  if (error) throw FileError(folder, "list", error.value());
  checked_change(folder, "rmdir", [&] { return ::rmdir(folder.c_str()); });
}

}  // namespace ballast::checkpoint
