#include "tests/support/text_corpus.h"

#include <array>
#include <cstdlib>
#include <fstream>
#include <random>
#include <stdexcept>
#include <string>

namespace ballast::support {

TemporaryFolder::TemporaryFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "ballast-test-XXXXXX").string();
  if (!mkdtemp(name.data())) throw std::runtime_error("mkdtemp failed for " + name);
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void write_text_corpus(const std::filesystem::path& folder, int num_documents, std::uint64_t seed) {
  constexpr std::array<const char*, 8> kWords = {"ballast ", "keeps ", "a ", "ship ", "even ", "in ", "heavy ", "seas. "};
  std::filesystem::create_directories(folder);
  std::mt19937_64 generator(seed);
  for (int document = 0; document < num_documents; ++document) {
    std::ofstream file(folder / ("document-" + std::to_string(document) + ".txt"), std::ios::binary);
    const std::uint64_t num_words = 1 + generator() % 60;
    for (std::uint64_t word = 0; word < num_words; ++word) file << kWords[generator() % kWords.size()];
  }
}

}  // namespace ballast::support
