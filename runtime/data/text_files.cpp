#include "runtime/data/text_files.h"

#include <fmt/core.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <system_error>
#include <vector>

#include "runtime/data/data_error.h"
#include "runtime/data/glob.h"

namespace ballast::data {
namespace fs = std::filesystem;
namespace {

struct File {
  std::string relative;
  std::int64_t num_bytes;
};

std::vector<File> find_files(const fs::path& folder, std::string_view glob, std::int64_t max_file_bytes) {
  std::vector<File> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const auto relative = entry.path().lexically_relative(folder).generic_string();
    if (!matches_glob(glob, relative) || !entry.is_regular_file()) continue;
    const auto num_bytes = static_cast<std::int64_t>(entry.file_size());
    if (num_bytes > max_file_bytes) {
      throw DataError(
          fmt::format("{}: {} bytes, at most {} are read; raise data.text_files.max_file_bytes or narrow "
                      "data.text_files.glob",
                      entry.path().string(), num_bytes, max_file_bytes));
    }
    files.push_back({relative, num_bytes});
  }
  std::sort(files.begin(), files.end(), [](const File& a, const File& b) { return a.relative < b.relative; });
  return files;
}

void read_whole(const fs::path& path, std::int64_t num_bytes, std::string& text) {
  text.resize(static_cast<std::size_t>(num_bytes));
  std::ifstream in(path, std::ios::binary);
  if (!in) throw DataError(fmt::format("{}: cannot be opened for reading", path.string()));
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.gcount() != num_bytes || in.peek() != std::ifstream::traits_type::eof()) {
    throw DataError(fmt::format("{}: its size changed from {} bytes while the folder was read", path.string(), num_bytes));
  }
}

}  // namespace

TextDocuments read_text_files(const fs::path& folder, std::string_view glob, std::int64_t max_file_bytes) {
  std::vector<File> files;
  try {
    if (!fs::is_directory(folder)) {
      throw DataError(fmt::format("{}: {}; data.text_files.folder must name a folder of text files", folder.string(),
                                  fs::exists(folder) ? "is not a folder" : "no such folder"));
    }
    files = find_files(folder, glob, max_file_bytes);
  } catch (const fs::filesystem_error& error) {
    throw DataError(fmt::format("{}: {}", error.path1().string(), error.code().message()));
  }
  if (files.empty()) {
    throw DataError(
        fmt::format("{}: no file matches '{}'; change data.text_files.glob or data.text_files.folder", folder.string(), glob));
  }

  TextDocuments documents;
  std::int64_t total_bytes = 0;
  for (const auto& file : files) total_bytes += file.num_bytes;
  documents.reserve(total_bytes);
  std::string text;
  for (const auto& file : files) {
    read_whole(folder / file.relative, file.num_bytes, text);
    documents.add(file.relative, text);
  }
  return documents;
}

}  // namespace ballast::data
