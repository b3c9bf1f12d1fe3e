#include "runtime/data/glob.h"

#include <gtest/gtest.h>

#include <string>

namespace ballast::data {
namespace {

TEST(Glob, PartsAndFolders) {
  EXPECT_TRUE(matches_glob("*.py", "a.py"));
  EXPECT_FALSE(matches_glob("*.py", "b/a.py"));
  EXPECT_FALSE(matches_glob("*", "b/a"));
  EXPECT_TRUE(matches_glob("b/?.p[xy]", "b/a.py"));
  EXPECT_FALSE(matches_glob("b/?.p[xy]", "b/aa.py"));
  EXPECT_FALSE(matches_glob("a", "a/b"));
  EXPECT_FALSE(matches_glob("a/b", "a"));
}

TEST(Glob, TwoStarsCrossFolders) {
  for (const auto* path : {"a.py", "b/a.py", "b/c/d/a.py"}) EXPECT_TRUE(matches_glob("**/*.py", path)) << path;
  EXPECT_TRUE(matches_glob("**", "b/c"));
  EXPECT_TRUE(matches_glob("b/**/a", "b/a"));
  EXPECT_TRUE(matches_glob("b/**/a", "b/x/y/a"));
  EXPECT_FALSE(matches_glob("b/**/a", "c/b/a"));
  EXPECT_FALSE(matches_glob("**/x", "b/xy"));
  EXPECT_TRUE(matches_glob("**/b/**/d", "a/b/c/b/d"));
}

TEST(Glob, LeadingDotsMustBeAskedFor) {
  EXPECT_FALSE(matches_glob("**/*", ".git/config"));
  EXPECT_FALSE(matches_glob("**/*", "a/.hidden"));
  EXPECT_TRUE(matches_glob(".git/*", ".git/config"));
  EXPECT_TRUE(matches_glob("**/.*", "a/.hidden"));
}

TEST(Glob, ManyStarsTakeNoTime) {
  std::string pattern, path;
  for (int i = 0; i < 200; ++i) pattern += "**/";
  for (int i = 0; i < 200; ++i) path += "a/";
  EXPECT_TRUE(matches_glob(pattern + "*", path + "a"));
  EXPECT_FALSE(matches_glob(pattern + "b", path + "a"));
}

}  // namespace
}  // namespace ballast::data
