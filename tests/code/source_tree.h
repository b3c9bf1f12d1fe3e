#pragma once
// The project's own files, as the code tests read them.
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <stdexcept>
#include <string>
#include <vector>

namespace ballast::code {

struct SourceFile {
  std::string path;  ///< below the root, with forward slashes
  std::string text;
};

/// Reads a whole file.
/// Throws std::runtime_error when it cannot be opened.
inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot open " + path.string());
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Every text file that belongs to the project, sorted by path; build outputs and the virtual environment are left out.
inline std::vector<SourceFile> source_files() {
  namespace fs = std::filesystem;
  const fs::path root = BALLAST_SOURCE_DIR;
  static const std::regex kept(R"(.*\.(h|cpp|cu|cuh|proto|textproto|cmake|in|txt|md|sh|sbatch|json|csv)$|.*/\.ci/run$)");
  std::vector<SourceFile> files;
  for (const char* folder : {".ci", "cmake", "configs", "docs", "kernels", "launch", "runtime", "scheduler", "tests"}) {
    if (!fs::exists(root / folder)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      if (entry.is_regular_file() && std::regex_match(entry.path().string(), kept)) {
        files.push_back({fs::relative(entry.path(), root).generic_string(), read_file(entry.path())});
      }
    }
  }
  for (const char* name : {"CMakeLists.txt", "CMakePresets.json", "README.md"}) {
    if (fs::exists(root / name)) files.push_back({name, read_file(root / name)});
  }
  std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  return files;
}

/// The line, counted from one, of an offset into a text.
inline std::int64_t line_of(const std::string& text, std::ptrdiff_t offset) {
  return 1 + std::count(text.begin(), text.begin() + offset, '\n');
}

}  // namespace ballast::code
