#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "launch/commands.h"
#include "runtime/data/data_error.h"
#include "runtime/metrics/metrics_file.h"

namespace ballast::launch {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class Report : public ::testing::Test {
 protected:
  Report() {
    std::string pattern = std::filesystem::temp_directory_path() / "ballast_report_XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  ~Report() override { std::filesystem::remove_all(folder_); }

  // A run of two MoE layers whose second layer never uses its last expert.
  void write_records(std::int64_t num_steps) const {
    std::ofstream out(folder_ / metrics::kMetricsFile);
    for (std::int64_t step = 1; step <= num_steps; ++step) {
      metrics::MetricsRecord record;
      record.step = step;
      record.tokens = step * 100;
      record.loss = 5.0 / static_cast<double>(step);
      record.grad_norm = 1;
      record.tokens_per_second = 1000 + static_cast<double>(step);
      record.phases = {{"forward", 0.1}, {"backward", 0.2}};
      record.rank_resident_bytes = {1 << 28, 1 << 29};
      record.imbalance_planned = 1.1;
      record.expert_load.resize(2);
      record.expert_load[0].add(std::vector<std::int64_t>{10, 10, 10});
      record.expert_load[1].add(std::vector<std::int64_t>{18, 12, 0});
      out << to_json(record) << "\n";
    }
  }
  int report(std::vector<std::string> arguments) {
    std::ostringstream errors;
    arguments.insert(arguments.begin(), "report");
    const Invocation invocation = parse_command_line(arguments, output_, errors);
    return invocation.command->run(invocation.line);
  }
  static std::string text(const std::filesystem::path& path) {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  std::filesystem::path folder_;
  std::ostringstream output_;
};

TEST_F(Report, WritesAPageThatNeedsNoOtherFile) {
  write_records(20);
  std::ofstream(folder_ / "summary.json")
      << R"({"heldout_bits_per_byte": 2.5, "sample": "if a < b:\n  pass", "a": {"b": [1, 2]}})";
  EXPECT_EQ(report({folder_}), 0);
  const std::string page = text(folder_ / "report.html");
  for (const char* part : {"<span>heldout_bits_per_byte</span><span>2.5</span>",
                           "if a &lt; b:", "<span>a.b</span><span>[1,2]</span>", "Loss", "Tokens per second", "backward",
                           "rank 1", "MoE layer 0", "MoE layer 1", "expert 2: 0 of the mean", "expert 0: 1.8 of the mean"}) {
    EXPECT_THAT(page, HasSubstr(part));
  }
  for (const char* part : {"src=", "href=", "<script", "url("}) EXPECT_THAT(page, Not(HasSubstr(part)));
  EXPECT_THAT(output_.str(), HasSubstr("20 records; open " + (folder_ / "report.html").string()));
}

TEST_F(Report, AnswersInJson) {
  write_records(5);
  const std::filesystem::path page = folder_ / "elsewhere.html";
  EXPECT_EQ(report({folder_, "--json", "--out", page}), 0);
  EXPECT_TRUE(std::filesystem::exists(page));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "report.html"));
  const auto answer = nlohmann::json::parse(output_.str());
  EXPECT_EQ(answer["page"], page.string());
  EXPECT_EQ(answer["records"], 5);
  EXPECT_EQ(answer["loss_last"], 1.0);
  EXPECT_EQ(answer["tokens_per_second_median"], 1003.0);
  EXPECT_EQ(answer["expert_load_above_minimum_worst"], 8);
  EXPECT_EQ(answer["summary"], nlohmann::json::object());
}

TEST_F(Report, AnEmptyRunIsAPageThatSaysSo) {
  write_records(0);
  EXPECT_EQ(report({folder_}), 0);
  EXPECT_THAT(text(folder_ / "report.html"), HasSubstr("No record yet."));
}

TEST_F(Report, SaysWhatIsMissing) {
  try {
    report({folder_});
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_EQ(error.what(), "ballast report: " + (folder_ / "metrics.jsonl").string() +
                                " is not there; name the folder of a run that has trained at least one step");
  }
  EXPECT_THROW(report({}), UsageError);
}

TEST_F(Report, NamesTheDamagedLine) {
  write_records(2);
  std::ofstream(folder_ / metrics::kMetricsFile, std::ios::app) << "{\n";
  try {
    report({folder_});
    FAIL();
  } catch (const data::DataError& error) {
    EXPECT_EQ(error.what(), (folder_ / "metrics.jsonl").string() + ":3: not a JSON object");
  }
  write_records(2);
  std::ofstream(folder_ / "summary.json") << "[]";
  EXPECT_THROW(report({folder_}), data::DataError);
}

TEST_F(Report, APageThatCannotBeWrittenIsNamed) {
  write_records(1);
  try {
    report({folder_, "--out", folder_ / "absent" / "page.html"});
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_THAT(error.what(), HasSubstr("absent/page.html: cannot be written"));
  }
}

}  // namespace
}  // namespace ballast::launch
