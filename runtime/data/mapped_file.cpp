#include "runtime/data/mapped_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "runtime/data/data_error.h"

namespace ballast::data {

MappedFile::MappedFile(const std::filesystem::path& path) {
  const auto refuse = [&](const char* reason) { throw DataError(fmt::format("{}: {}", path.string(), reason)); };
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) refuse(std::strerror(errno));
  struct stat status {};
  void* address = nullptr;
  int failure = fstat(file, &status) == 0 ? 0 : errno;
  const bool is_regular = S_ISREG(status.st_mode);
  const auto size = static_cast<std::size_t>(status.st_size);
  if (failure == 0 && is_regular && size > 0) {
    address = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
    if (address == MAP_FAILED) failure = errno;
  }
  close(file);
  if (failure != 0) refuse(std::strerror(failure));
  if (!is_regular) refuse("is not a regular file");
  bytes_ = {static_cast<const std::byte*>(address), size};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace ballast::data
