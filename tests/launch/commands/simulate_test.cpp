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

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

const std::string kConfigs = BALLAST_SOURCE_DIR "/configs/";

class Simulate : public ::testing::Test {
 protected:
  Simulate() {
    std::string pattern = std::filesystem::temp_directory_path() / "ballast_simulate_XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  ~Simulate() override { std::filesystem::remove_all(folder_); }

  /// A small step of the 7B model on cluster A.
  std::string simulate(const std::vector<std::string>& arguments) {
    std::vector<std::string> all = {"--set", "scheduler.tokens_per_step=65536"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    return simulate("models/llama_7b.textproto", kConfigs + "workloads/pile.csv", all);
  }
  /// The same of another model and batch.
  std::string simulate(const std::string& model, const std::string& lengths, const std::vector<std::string>& arguments) {
    std::ostringstream output, errors;
    std::vector<std::string> all = {
        "simulate", "--cluster", kConfigs + "clusters/cluster_a.textproto", "--model", kConfigs + model, "--lengths", lengths};
    all.insert(all.end(), arguments.begin(), arguments.end());
    const Invocation invocation = parse_command_line(all, output, errors);
    EXPECT_EQ(invocation.command->run(invocation.line), 0);
    return output.str();
  }
  /// A list of `count` sequences of `tokens` each, after one of `first`.
  std::string list(int first, int count, int tokens) const {
    std::ofstream out(folder_ / "lengths.csv");
    out << first << "\n";
    for (int i = 0; i < count; ++i) out << tokens << "\n";
    return (folder_ / "lengths.csv").string();
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

TEST_F(Simulate, ABaselineThatCannotBePlacedLeavesTheOtherPicture) {
  const std::filesystem::path picture = folder_ / "picture.html";
  simulate("models/llama_7b.textproto", list(98, 100, 15),
           {"--set", "scheduler.token_cap_per_rank=101", "--report", picture.string()});
  const std::string html = text(picture);
  EXPECT_THAT(html, HasSubstr("<h2>te_cp</h2>\n<table>\n<tr><td>no plan</td><td>policy te_cp: rank 0 would hold 107 tokens"));
  EXPECT_THAT(html, HasSubstr("<h2>ballast</h2>\n<svg"));
}

TEST_F(Simulate, RanksWithoutTheMemoryAreMarkedAndCounted) {
  const std::string fits = simulate({});
  EXPECT_THAT(fits, AllOf(HasSubstr("memory: a rank has 85.899 GB, as cluster.memory_bytes says\n"), Not(HasSubstr("need more memory"))));
  // Weights and gradients alone are 6 bytes for each of 6.7e9 parameters.
  const std::vector<std::string> small = {"--set", "cluster.memory_bytes=40000000000"};
  EXPECT_THAT(simulate(small), AllOf(HasSubstr(" ! 16 of 16 ranks\n"), HasSubstr("need more memory than they have"),
                                     HasSubstr("change parallel.tp or the model")));
  const nlohmann::json row =
      nlohmann::json::parse(simulate({"--json", "--set", "cluster.memory_bytes=40000000000", "--policy", "te_cp"}));
  EXPECT_EQ(row.at("gpus_per_rank"), 1);
  EXPECT_EQ(row.at("rank_memory_bytes"), 40000000000);
  EXPECT_EQ(row.at("ranks_over_memory"), 16);
  EXPECT_GT(row.at("peak_memory_bytes").get<std::int64_t>(), 40000000000);
}

TEST_F(Simulate, TheClusterFollowsTheWorldAndPoliciesFormMicroBatches) {
  const std::string batch = list(2048, 31, 2048);
  std::vector<std::string> arguments = {"--policy", "hybrid_dp", "--world", "8", "--set", "scheduler.tokens_per_rank=2048"};
  EXPECT_THAT(simulate("models/llama_7b.textproto", batch, arguments),
              AllOf(HasSubstr("8 ranks on 1 node, 32 sequences, 65536 tokens;"), HasSubstr("formed by the policy")));
  arguments.emplace_back("--json");
  EXPECT_EQ(nlohmann::json::parse(simulate("models/llama_7b.textproto", batch, arguments)).at("micro_batches"), 4);
}

TEST_F(Simulate, MemoryKnowsThatExpertsAreSpread) {
  const auto peak = [&](const char* ep) {
    const std::string answer = simulate("models/moe_8x550m.textproto", list(4096, 1, 4096),
                                        {"--policy", "sequential", "--json", "--set", std::string("parallel.ep=") + ep});
    return nlohmann::json::parse(answer).at("peak_memory_bytes").get<std::int64_t>();
  };
  // 24 layers of 8 experts of 3 * 1280 * 3456 elements, 2 + 4 bytes each, of which an eighth stays.
  EXPECT_NEAR(static_cast<double>(peak("1") - peak("8")), 24 * 8 * 3 * 1280 * 3456.0 * 6 * 7 / 8, 100);
}

}  // namespace
}  // namespace ballast::launch
