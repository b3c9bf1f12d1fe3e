#pragma once
// Small folders of text that a test makes for itself.
#include <cstdint>
#include <filesystem>

namespace ballast::support {

/// A new folder below the system's temporary one; removed, with all that is in it, at the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Writes `num_documents` files of words that repeat often enough to be learnt, of a few to a few hundred bytes.
void write_text_corpus(const std::filesystem::path& folder, int num_documents, std::uint64_t seed);

}  // namespace ballast::support
