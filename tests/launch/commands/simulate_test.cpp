#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "launch/commands.h"
#include "scheduler/policy/registry.h"

namespace ballast::launch {
namespace {

using testing::HasSubstr;

const std::string kRoot = BALLAST_SOURCE_DIR;

class Simulate : public ::testing::Test {
 protected:
  Simulate() {
    std::string pattern = std::filesystem::temp_directory_path() / "ballast_simulate_XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  ~Simulate() override { std::filesystem::remove_all(folder_); }

  /// A small step of the 7B model on cluster A.
  std::string simulate(const std::vector<std::string>& arguments) {
    std::ostringstream output, errors;
    std::vector<std::string> all = {"simulate",
                                    "--cluster",
                                    kRoot + "/configs/clusters/cluster_a.textproto",
                                    "--model",
                                    kRoot + "/configs/models/llama_7b.textproto",
                                    "--lengths",
                                    kRoot + "/configs/workloads/pile.csv",
                                    "--set",
                                    "scheduler.tokens_per_step=65536"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    const Invocation invocation = parse_command_line(all, output, errors);
    EXPECT_EQ(invocation.command->run(invocation.line), 0);
    return output.str();
  }
  static std::string text(const std::filesystem::path& path) {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  std::filesystem::path folder_;
};

TEST_F(Simulate, ARowForEveryPolicy) {
  const std::string table = simulate({"--policy", "all"});
  for (const scheduler::Policy& policy : scheduler::policies())
    EXPECT_THAT(table, HasSubstr(std::string("\n") + policy.name + " "));
  EXPECT_THAT(table, HasSubstr("16 ranks on 2 nodes"));
  EXPECT_THAT(table, HasSubstr("Not counted: messages of experts"));
}

TEST_F(Simulate, OneObjectPerRow) {
  std::istringstream rows(simulate({"--policy", "all", "--json", "--set", "scheduler.token_cap_per_rank=4505"}));
  std::size_t num_rows = 0, num_infeasible = 0;
  for (std::string line; std::getline(rows, line); ++num_rows) {
    const nlohmann::json row = nlohmann::json::parse(line);
    EXPECT_EQ(row.at("policy"), scheduler::policies()[num_rows].name);
    if (row.contains("infeasible")) {
      EXPECT_THAT(row.at("infeasible").get<std::string>(), HasSubstr("4505"));
      ++num_infeasible;
      continue;
    }
    EXPECT_GE(row.at("makespan_seconds").get<double>(), row.at("bound_seconds").get<double>());
    EXPECT_EQ(row.at("rank_times").size(), 16u);
    EXPECT_EQ(row.at("cards").size(), 8u);
  }
  EXPECT_EQ(num_rows, scheduler::policies().size());
  EXPECT_GT(num_infeasible, 0u);
}

TEST_F(Simulate, GroupsOfTensorParallelismAreRanks) {
  EXPECT_THAT(simulate({"--policy", "ballast", "--set", "parallel.tp=2"}), HasSubstr("8 ranks on 2 nodes"));
  EXPECT_THROW(simulate({"--policy", "ballast", "--set", "parallel.tp=3"}), std::invalid_argument);
}

TEST_F(Simulate, WritesTraceAndPicture) {
  const std::filesystem::path trace = folder_ / "trace.json", picture = folder_ / "picture.html";
  simulate({"--policy", "ballast", "--out", trace.string(), "--report", picture.string()});
  EXPECT_GT(nlohmann::json::parse(text(trace)).at("traceEvents").size(), 1000u);
  const std::string html = text(picture);
  EXPECT_THAT(html, HasSubstr("<h2>te_cp</h2>"));
  EXPECT_THAT(html, HasSubstr("<h2>ballast</h2>"));
  EXPECT_THROW(simulate({"--policy", "all", "--report", picture.string()}), UsageError);
}

}  // namespace
}  // namespace ballast::launch
