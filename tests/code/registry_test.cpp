// Every row of a table of alternatives has a test: a file that is named after it, one that names it in quotes, or, for a command,
// a README whose commands a test runs.
#include <gtest/gtest.h>

#include "tests/code/source_tree.h"

namespace ballast::code {
namespace {

struct Table {
  const char* file;   ///< where the rows are
  const char* row;    ///< first group: the name of a row
  const char* tests;  ///< folder whose tests count
};

const Table kTables[] = {
    {"scheduler/policy/registry.cpp", R"re(\n    \{"(\w+)",)re", "tests/scheduler/"},
    {"runtime/comm/world.cpp", R"re(Backend ?\w*\{"(\w+)",)re", "tests/runtime/comm/"},
    {"runtime/model/router/router.cpp", R"re(Row\{"(\w+)",)re", "tests/"},
    {"launch/commands.cpp", R"re(\n      \{"(\w+)",)re", "tests/"},
};

TEST(Registry, EveryRowHasATest) {
  const std::vector<SourceFile> files = source_files();
  for (const Table& table : kTables) {
    const auto source = std::find_if(files.begin(), files.end(), [&](const SourceFile& file) { return file.path == table.file; });
    ASSERT_NE(source, files.end()) << table.file << " is gone: correct the table of this test";
    const std::regex row(table.row);
    std::size_t num_rows = 0;
    for (std::sregex_iterator it(source->text.begin(), source->text.end(), row), end; it != end; ++it, ++num_rows) {
      const std::string name = (*it)[1];
      const bool is_tested = std::any_of(files.begin(), files.end(), [&](const SourceFile& file) {
        if (file.path.ends_with("README.md")) return file.text.find("\nbuild/cpu/ballast " + name + " ") != std::string::npos;
        return file.path.rfind(table.tests, 0) == 0 && file.path.ends_with("_test.cpp") &&
               (file.path.find("/" + name + "_") != std::string::npos || file.text.find('"' + name + '"') != std::string::npos);
      });
      EXPECT_TRUE(is_tested) << table.file << ": no test below " << table.tests << " is named after or mentions \"" << name
                             << '"';
    }
    EXPECT_GT(num_rows, 0u) << table.file << ": no row found, the pattern of this test is out of date";
  }
}

}  // namespace
}  // namespace ballast::code
