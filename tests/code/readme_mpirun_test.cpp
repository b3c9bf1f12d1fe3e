// Runs the commands of the READMEs as they stand there, on the tiny run.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>

#include "tests/code/source_tree.h"

namespace ballast::code {
namespace {

namespace fs = std::filesystem;

struct Block {
  std::string where;  ///< file:line
  std::string commands;
};

/// The ```bash blocks of a README. Other blocks (console, text) are for the eye.
std::vector<Block> bash_blocks(const SourceFile& file) {
  static const std::regex fence(R"(```bash\n([^]*?)```)");
  std::vector<Block> blocks;
  for (std::sregex_iterator it(file.text.begin(), file.text.end(), fence), end; it != end; ++it) {
    blocks.push_back({file.path + ":" + std::to_string(line_of(file.text, it->position()) + 1), (*it)[1]});
  }
  return blocks;
}

std::string replace_all(std::string text, const std::string& what, const std::string& with) {
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += with.size())
    text.replace(at, what.size(), with);
  return text;
}

/// The commands on the tiny run instead of the quickstart, with the run folder moved to `scratch`, and without the tests that
/// this test belongs to.
std::string on_the_tiny_run(std::string commands, const fs::path& scratch) {
  const std::string run_folder = "--set train.run_folder=" + (scratch / "run").string();
  commands = std::regex_replace(commands, std::regex("(^|\n)launch/test\\.sh[^\n]*"), "$1true");
  commands = replace_all(commands, "launch/quickstart.sh", "launch/quickstart.sh --tiny " + run_folder);
  commands = replace_all(commands, "configs/runs/quickstart.textproto", "configs/runs/tiny.textproto " + run_folder);
  return replace_all(commands, "runs/quickstart", (scratch / "run").string());
}

TEST(Readme, TheTinyRunStandsIn) {
  EXPECT_EQ(on_the_tiny_run("launch/test.sh --all\nlaunch/quickstart.sh\nballast report runs/quickstart\n", "/s"),
            "true\nlaunch/quickstart.sh --tiny --set train.run_folder=/s/run\nballast report /s/run\n");
  EXPECT_EQ(on_the_tiny_run("ballast eval configs/runs/quickstart.textproto --json", "/s"),
            "ballast eval configs/runs/tiny.textproto --set train.run_folder=/s/run --json");
}

TEST(Readme, EveryCommandRuns) {
  if (fs::path(BALLAST_BINARY_DIR) != fs::path(BALLAST_SOURCE_DIR) / "build/cpu") {
    GTEST_SKIP() << "the READMEs speak of build/cpu, this build is in " << BALLAST_BINARY_DIR;
  }
  std::string pattern = fs::temp_directory_path() / "ballast_readme_XXXXXX";
  const fs::path scratch = mkdtemp(pattern.data());
  std::vector<SourceFile> readmes = source_files();
  std::erase_if(readmes, [](const SourceFile& file) { return !file.path.ends_with("README.md"); });
  // The front page first: its quickstart makes the run that the others speak of.
  std::stable_partition(readmes.begin(), readmes.end(), [](const SourceFile& file) { return file.path == "README.md"; });

  std::size_t num_blocks = 0;
  for (const SourceFile& readme : readmes) {
    for (const Block& block : bash_blocks(readme)) {
      ++num_blocks;
      const fs::path script = scratch / "commands.sh", output = scratch / "output.txt";
      std::ofstream(script) << "set -euxo pipefail\ncd " << BALLAST_SOURCE_DIR << "\n"
                            << on_the_tiny_run(block.commands, scratch);
      const int status = std::system(("bash " + script.string() + " >" + output.string() + " 2>&1 </dev/null").c_str());
      EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << block.where << "\n" << read_file(output);
      if (HasFailure()) break;  // what follows builds on it
    }
  }
  EXPECT_GT(num_blocks, 1u);
  if (!HasFailure()) fs::remove_all(scratch);
}

}  // namespace
}  // namespace ballast::code
