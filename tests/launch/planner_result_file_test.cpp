#include "launch/planner_result_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "build_constants.h"
#include "tests/support/text_corpus.h"

namespace ballast::launch {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ResultFile : public ::testing::Test {
 protected:
  std::string path() const { return (folder_.path() / "kept.jsonl").string(); }
  std::string content() const {
    std::ifstream file(path(), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void write(const std::string& text) const { std::ofstream(path(), std::ios::binary) << text; }
  PlannerResultFile open() {
    notes_.clear();
    return PlannerResultFile(path(), [&](const std::string& text) { notes_.push_back(text); });
  }
  std::string refusal() {
    try {
      open();
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "no error";
  }
  static PlannerResult result(std::uint64_t inputs, double makespan_seconds, const std::string& commit = build::kCommit) {
    PlannerResult result{.cell = {"a", "m", "pile", 16, 65536, 1.1}, .row = "te_cp", .inputs = inputs, .commit = commit};
    result.score.makespan_seconds = makespan_seconds;
    return result;
  }
  static std::string line(const PlannerResult& result) { return json_line(result) + "\n"; }

  support::TemporaryFolder folder_;
  std::vector<std::string> notes_;
};

TEST_F(ResultFile, ResultsOfOtherInputsStayBesideNewOnes) {
  open().add(result(1, 10));
  PlannerResultFile file = open();
  EXPECT_THAT(notes_, IsEmpty());
  EXPECT_EQ(file.find(result(1, 0))->score.makespan_seconds, 10);
  EXPECT_THAT(notes_, IsEmpty());
  EXPECT_EQ(file.find(result(2, 0)), nullptr);
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("results of other inputs")));
  file.add(result(2, 20));
  EXPECT_EQ(content(), line(result(1, 10)) + line(result(2, 20)));
  PlannerResultFile both = open();
  EXPECT_EQ(both.find(result(1, 0))->score.makespan_seconds, 10);
  EXPECT_EQ(both.find(result(2, 0))->score.makespan_seconds, 20);
}

TEST_F(ResultFile, ResultsWithoutInputsStayAndAreNotUsed) {
  nlohmann::ordered_json old = nlohmann::ordered_json::parse(json_line(result(1, 10)));
  for (const char* field : {"inputs", "commit", "is_exact", "simulated_layers"}) old.erase(field);
  write(old.dump() + "\n");
  PlannerResultFile file = open();
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("1 of its results are of an older program")));
  EXPECT_EQ(file.find(result(1, 0)), nullptr);
  EXPECT_EQ(file.find(result(0, 0)), nullptr);
  EXPECT_EQ(content(), old.dump() + "\n");
}

TEST_F(ResultFile, ResultsOfAnotherProgramAreUsedAndNamed) {
  write(line(result(1, 10, "1234567")) + line(result(2, 20)));
  PlannerResultFile file = open();
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("1 of its results are of the program at commit 1234567")));
  EXPECT_EQ(file.find(result(1, 0))->commit, "1234567");
}

TEST_F(ResultFile, TheNewestOfEqualOnesIsFound) {
  write(line(result(1, 10)) + line(result(1, 11)));
  EXPECT_EQ(open().find(result(1, 0))->score.makespan_seconds, 11);
}

TEST_F(ResultFile, AResultThatWasCutGoes) {
  const std::string whole = line(result(1, 10));
  for (const std::size_t kept : {std::size_t{4}, std::size_t{20}, whole.size() - 2}) {
    write(whole + line(result(2, 20)).substr(0, kept));
    open();
    EXPECT_EQ(content(), whole) << kept;
    EXPECT_THAT(notes_, ElementsAre(HasSubstr("was cut"))) << kept;
  }
  write(whole.substr(0, 20));  // the first and only
  open();
  EXPECT_EQ(content(), "");
}

TEST_F(ResultFile, ALastLineMayLackItsEnd) {
  const std::string whole = line(result(1, 10));
  write(whole.substr(0, whole.size() - 1));
  PlannerResultFile file = open();
  EXPECT_THAT(notes_, IsEmpty());
  EXPECT_EQ(file.find(result(1, 0))->score.makespan_seconds, 10);
  file.add(result(2, 20));
  EXPECT_EQ(content(), whole + line(result(2, 20)));
}

TEST_F(ResultFile, AnotherFileIsRefusedAndLeftAsItIs) {
  const std::string whole = line(result(1, 10));
  for (const std::string& text : {std::string("my notes"), std::string("my notes\n"), std::string("{\"policy\":\"none\"}"),
                                  std::string("{\"po"), whole + "my notes", whole + "{}\n", whole + "\n"}) {
    write(text);
    EXPECT_THAT(refusal(), HasSubstr("kept.jsonl")) << text;
    EXPECT_EQ(content(), text);
  }
  EXPECT_THAT(refusal(), HasSubstr("kept.jsonl:2: not a result"));
}

TEST_F(ResultFile, SaysThatItCannotBeWritten) {
  EXPECT_THROW(PlannerResultFile("/nowhere/kept.jsonl", [](const std::string&) {}), std::runtime_error);
  PlannerResultFile full("/dev/full", [](const std::string&) {});
  EXPECT_THROW(full.add(result(1, 10)), std::runtime_error);
}

}  // namespace
}  // namespace ballast::launch
