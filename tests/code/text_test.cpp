// What no file of the project says, and what every top folder has.
#include <gtest/gtest.h>

#include "tests/code/source_tree.h"

namespace ballast::code {
namespace {

struct Forbidden {
  std::regex pattern;
  const char* why;
};

// The patterns are written so that they do not match themselves.
const std::vector<Forbidden>& forbidden() {
  static const std::vector<Forbidden> list = {
      {std::regex(R"((^|[^\w.])/work[/])"), "a path of one machine"},
      {std::regex(R"((^|[^\w.])/(home|Users)/\w)"), "a path of one person"},
      {std::regex(R"(\b(TO[D]O|FI[X]ME|X[X]X)\b)"), "an open end; do it or leave it"},
      {std::regex(R"(\b[Ii]ssues? #?[0-9])"), "a number that a reader cannot look up"},
  };
  return list;
}

TEST(Text, TheRulesFindWhatTheyForbid) {
  const auto is_forbidden = [](const std::string& text) {
    return std::any_of(forbidden().begin(), forbidden().end(),
                       [&](const Forbidden& rule) { return std::regex_search(text, rule.pattern); });
  };
  for (const std::string& text : {std::string("see /wo") + "rk/shared", std::string("// TO") + "DO: later",
                                  std::string("fixed in iss") + "ue 3", std::string("/ho") + "me/me"}) {
    EXPECT_TRUE(is_forbidden(text)) << text;
  }
  for (const char* text : {"network/", "a workaround", "issue an order", "runs/work/x"}) EXPECT_FALSE(is_forbidden(text)) << text;
}

// rc::check says whether the property holds and fails nothing by itself.
bool drops_a_property(const std::string& text) {
  static const std::regex check(R"((^|\n)[ \t]*rc::check\()");
  static const std::regex used(R"((EXPECT_TRUE|ASSERT_TRUE)\(\s*$)");
  for (std::sregex_iterator it(text.begin(), text.end(), check), end; it != end; ++it) {
    if (!std::regex_search(text.substr(0, static_cast<std::size_t>(it->position())), used)) return true;
  }
  return false;
}

TEST(Text, PropertiesCanFail) {
  const std::string property = "rc::check(\"p\", [] {});";
  EXPECT_TRUE(drops_a_property("TEST(A, B) {\n  " + property));
  EXPECT_FALSE(drops_a_property("TEST(A, B) {\n  EXPECT_TRUE(" + property));
  EXPECT_FALSE(drops_a_property("TEST(A, B) {\n  EXPECT_TRUE(\n      " + property));
  EXPECT_FALSE(drops_a_property("TEST(A, B) {\n  const bool holds = " + property));
  for (const SourceFile& file : source_files()) {
    if (!file.path.starts_with("tests/") || !file.path.ends_with("_test.cpp")) continue;
    EXPECT_FALSE(drops_a_property(file.text)) << file.path << ": a property whose result nobody reads: wrap it in EXPECT_TRUE";
  }
}

TEST(Text, TopFoldersHaveAShortReadme) {
  for (const char* folder : {"scheduler", "kernels", "runtime", "launch", "configs", "tests"}) {
    const std::filesystem::path path = std::filesystem::path(BALLAST_SOURCE_DIR) / folder / "README.md";
    ASSERT_TRUE(std::filesystem::exists(path)) << path << ": what belongs here, what does not, how to add one";
    const std::string text = read_file(path);
    EXPECT_LT(std::count(text.begin(), text.end(), '\n'), 70) << path;
  }
}

TEST(Text, SaysNothingThatOnlyItsAuthorUnderstands) {
  std::size_t num_files = 0;
  for (const SourceFile& file : source_files()) {
    ++num_files;
    for (const Forbidden& rule : forbidden()) {
      for (std::sregex_iterator it(file.text.begin(), file.text.end(), rule.pattern), end; it != end; ++it) {
        ADD_FAILURE() << file.path << ":" << line_of(file.text, it->position()) << ": \"" << it->str() << "\": " << rule.why;
      }
    }
  }
  EXPECT_GT(num_files, 50u);
}

}  // namespace
}  // namespace ballast::code
