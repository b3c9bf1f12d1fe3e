#include "runtime/data/text_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "runtime/data/data_error.h"
#include "tests/runtime/data/temporary_folder.h"

namespace ballast::data {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t kNoLimit = 1 << 30;

TEST(TextFiles, SortedByPathWithAnyBytes) {
  const TemporaryFolder folder;
  folder.write("b/x.txt", "2");
  folder.write("a.txt", std::string_view("\0\xff\r\n", 4));
  folder.write("b.txt", "1");
  folder.write("b/empty.txt", "");
  folder.write("b/other.md", "no");
  const auto documents = read_text_files(folder.path(), "**/*.txt", kNoLimit);
  ASSERT_EQ(documents.size(), 3);
  EXPECT_EQ(documents.num_empty(), 1);
  EXPECT_EQ(documents.name(0), "a.txt");
  EXPECT_EQ(documents.text(0), std::string_view("\0\xff\r\n", 4));
  EXPECT_EQ(documents.name(1), "b.txt");
  EXPECT_EQ(documents.name(2), "b/x.txt");
  EXPECT_EQ(documents.text(2), "2");
}

TEST(TextFiles, FollowsLinksToFilesButNotLoopsOfFolders) {
  const TemporaryFolder folder;
  folder.write("real.txt", "x");
  std::filesystem::create_symlink("real.txt", folder.path("link.txt"));
  std::filesystem::create_directory_symlink(".", folder.path("loop"));
  EXPECT_EQ(read_text_files(folder.path(), "**/*", kNoLimit).size(), 2);
}

TEST(TextFiles, MissingFolderNoMatchAndLargeFilesAreNamed) {
  const TemporaryFolder folder;
  folder.write("a.txt", "12345");
  EXPECT_THAT(refusal<DataError>([&] { read_text_files(folder.path("gone"), "**/*", kNoLimit); }),
              HasSubstr("gone: no such folder; data.text_files.folder must name a folder"));
  EXPECT_THAT(refusal<DataError>([&] { read_text_files(folder.path("a.txt"), "**/*", kNoLimit); }), HasSubstr("is not a folder"));
  EXPECT_THAT(refusal<DataError>([&] { read_text_files(folder.path(), "*.md", kNoLimit); }),
              HasSubstr("no file matches '*.md'; change data.text_files.glob"));
  EXPECT_THAT(refusal<DataError>([&] { read_text_files(folder.path(), "*", 4); }),
              HasSubstr("a.txt: 5 bytes, at most 4 are read; raise data.text_files.max_file_bytes"));
  EXPECT_EQ(read_text_files(folder.path(), "*", 5).size(), 1);
}

TEST(TextFiles, UnreadableFileIsNamed) {
  if (geteuid() == 0) GTEST_SKIP() << "root reads every file";
  const TemporaryFolder folder;
  std::filesystem::permissions(folder.write("a.txt", "x"), std::filesystem::perms::none);
  EXPECT_THAT(refusal<DataError>([&] { read_text_files(folder.path(), "*", kNoLimit); }), HasSubstr("a.txt: cannot be opened"));
}

}  // namespace
}  // namespace ballast::data
