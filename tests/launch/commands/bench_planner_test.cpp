#include "launch/commands/bench_planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "launch/commands.h"
#include "tests/support/text_corpus.h"

namespace ballast::launch {
namespace {

using ::testing::HasSubstr;

class BenchPlanner : public ::testing::Test {
 protected:
  std::string grid(const std::string& text) {
    const std::string path = (folder_.path() / "grid.textproto").string();
    std::ofstream(path) << text;
    return path;
  }
  /// A small grid of sequences of 64 tokens.
  std::string small_grid(const std::string& policies) {
    std::ofstream(folder_.path() / "lengths.csv") << "bin_lo_tokens,bin_hi_tokens,fraction\n64,65,1\n";
    const std::string configs = BALLAST_SOURCE_DIR "/configs/";
    return grid("cluster_files: \"" + configs + "clusters/two_nodes_two_ranks.textproto\"\nmodel_files: \"" + configs +
                "models/tiny.textproto\"\nlength_files: \"lengths.csv\"\ngpus: [2, 4]\ntoken_caps: 1.0\nseeds: 2\n"
                "tokens_per_rank: 128\n" +
                policies);
  }
  void run(const std::string& path, bool json, const std::string& out_path = "", std::vector<std::string> set = {}) {
    CommandLine line;
    line.set = std::move(set);
    line.out_path = out_path;
    line.arguments = {"planner", path};
    line.json = json;
    line.output = &output_;
    line.errors = &errors_;
    EXPECT_EQ(run_bench_planner(line), 0);
  }

  support::TemporaryFolder folder_;
  std::ostringstream output_, errors_;
};

TEST_F(BenchPlanner, OneObjectPerPolicySizeAndSeed) {
  run(small_grid("policies: [\"longest_first\", \"te_cp\"]\n"), true);
  std::istringstream lines(output_.str());
  std::vector<nlohmann::json> rows;
  for (std::string line; std::getline(lines, line);) rows.push_back(nlohmann::json::parse(line));
  ASSERT_EQ(rows.size(), 8u);
  EXPECT_EQ(rows[0].at("policy"), "longest_first");
  EXPECT_EQ(rows[0].at("cluster"), "two_nodes_two_ranks");
  EXPECT_EQ(rows[0].at("lengths"), "lengths");
  EXPECT_EQ(rows[0].at("gpus"), 2);
  EXPECT_EQ(rows[1].at("seed"), 1);
  EXPECT_EQ(rows[0].at("token_cap"), 1.0);
  EXPECT_NEAR(rows[0].at("makespan_over_strict_bound").get<double>(), 1, 1e-6);
  EXPECT_NEAR(rows[0].at("makespan_over_best_bound").get<double>(), 1, 1e-6);
  EXPECT_NEAR(rows[0].at("makespan_over_strict_bound_attention_overlap_only").get<double>(), 1, 1e-6);
  EXPECT_NEAR(rows[0].at("imbalance_full").get<double>(), 1, 1e-9);
  EXPECT_NEAR(rows[0].at("imbalance_attention").get<double>(), 1, 1e-9);
  EXPECT_EQ(rows[0].at("tokens_max_over_budget"), 1.0);
  EXPECT_EQ(rows[0].at("exposed_communication_fraction"), 0.0);
  EXPECT_EQ(rows[0].at("is_exact"), true);
  EXPECT_EQ(rows[0].at("simulated_layers"), 2);
  EXPECT_GE(rows[0].at("planning_ms").get<double>(), 0);
  EXPECT_EQ(rows[2].at("policy"), "te_cp");
  EXPECT_GT(rows[2].at("makespan_over_strict_bound").get<double>(), 1);
  EXPECT_EQ(rows[4].at("gpus"), 4);
}

TEST_F(BenchPlanner, TableNamesWhatIsRefused) {
  run(small_grid("policies: [\"ulysses\", \"ballast\"]\n"), false);
  EXPECT_THAT(output_.str(), HasSubstr("two_nodes_two_ranks, tiny, lengths, 4 GPUs, 512 tokens, cap 1: mean/worst of 2"));
  EXPECT_THAT(output_.str(), HasSubstr("ballast "));
  EXPECT_THAT(output_.str(), HasSubstr("\n/ best bound  the same step over the bound"));
  EXPECT_THAT(errors_.str(), HasSubstr("cell 2 of 2"));
}

TEST_F(BenchPlanner, VariantsSizesAndSpeedUps) {
  run(small_grid("tensor_parallel: 2\ntokens_per_step: [256, 0]\nbaseline: \"te_cp\"\npolicies: \"te_cp\"\n"
                 "variants: { name: \"even\" policy: \"zeppelin\" remap: \"cluster\" routing: \"off\" }\n"),
      false);
  const std::string text = output_.str();
  EXPECT_THAT(text, HasSubstr("2 GPUs, 256 tokens, cap 1:"));
  EXPECT_THAT(text, HasSubstr("4 GPUs, 512 tokens, cap 1:"));
  EXPECT_EQ(text.find("2 GPUs, 256 tokens"), text.rfind("2 GPUs, 256 tokens"));  // 128 tokens a GPU are the same
  EXPECT_THAT(text, HasSubstr("Speed-up over te_cp"));
  EXPECT_THAT(text, ::testing::ContainsRegex("even +everything +6 "));
}

TEST_F(BenchPlanner, GoesOnWhereItWasCut) {
  const std::string kept = (folder_.path() / "kept.jsonl").string();
  const std::string path = small_grid("policies: [\"longest_first\", \"te_cp\"]\n");
  const auto content = [&] {
    std::ifstream file(kept);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  run(path, true, kept);
  const std::string all = content();
  EXPECT_EQ(output_.str(), all);
  // Cut in the third of eight lines: two are read, the others are done again.
  std::size_t third = all.find('\n', all.find('\n') + 1) + 1;
  std::ofstream(kept) << "" << all.substr(0, third + 10);
  output_.str("");
  run(path, true, kept);
  const std::string again = content();
  EXPECT_EQ(again.substr(0, third), all.substr(0, third));
  EXPECT_EQ(std::count(again.begin(), again.end(), '\n'), 8);
  EXPECT_EQ(output_.str(), again);
  std::ofstream(kept) << "{}\n";
  EXPECT_THROW(run(path, true, kept), std::invalid_argument);
}

TEST_F(BenchPlanner, KeptResultsAreThoseOfTheSameInputs) {
  const std::string kept = (folder_.path() / "kept.jsonl").string();
  const std::string path = small_grid("policies: \"te_cp\"\n");
  const auto makespan_with = [&](const std::string& message_seconds) {
    output_.str("");
    run(path, true, kept, {"gpus=4", "seeds=1", "cluster.message_seconds=" + message_seconds});
    return nlohmann::json::parse(output_.str()).at("makespan_seconds").get<double>();
  };
  const double quick = makespan_with("1e-5");
  EXPECT_GT(makespan_with("1e-2"), 2 * quick);
  EXPECT_THAT(errors_.str(), HasSubstr("results of other inputs"));
  EXPECT_EQ(makespan_with("1e-5"), quick);
  std::ifstream file(kept);
  EXPECT_EQ(std::count(std::istreambuf_iterator<char>(file), {}, '\n'), 2);
}

TEST_F(BenchPlanner, AListIsOneBatchAsItIs) {
  const std::string path = small_grid("policies: \"longest_first\"\ntokens_per_step: [256, 0]\n");
  std::ofstream(folder_.path() / "lengths.csv") << "100\n300\n7\n";
  run(path, false, "", {"gpus=2"});
  EXPECT_THAT(output_.str(), HasSubstr("2 GPUs, 407 tokens, cap 1: mean/worst of one, the list\n"));
  EXPECT_EQ(output_.str().find("2 GPUs"), output_.str().rfind("2 GPUs"));
  output_.str("");
  run(path, true, "", {"gpus=2", "token_caps=2"});
  const auto row = nlohmann::json::parse(output_.str());  // one object alone
  EXPECT_EQ(row.at("tokens"), 407);
  EXPECT_NEAR(row.at("tokens_max_over_budget").get<double>(), 300.0 / 204, 1e-12);
}

TEST_F(BenchPlanner, WhatDoesNotFitASizeLeavesOutThatSizeAlone) {
  const std::string path = small_grid("policies: \"longest_first\"\n");
  run(path, false, "", {"cluster.nodes=[{num_ranks: 2}, {num_ranks: 1}]", "gpus=[2, 4, 3]"});
  EXPECT_THAT(output_.str(), HasSubstr("n/a  cluster: 4 ranks wanted, but"));
  EXPECT_THAT(output_.str(), ::testing::ContainsRegex("3 GPUs, 384 tokens[^\n]*\n[^\n]*\nlongest_first +1.0"));
  output_.str("");
  run(path, true, "", {"cluster.nodes=[{num_ranks: 2}, {num_ranks: 1}]", "gpus=4"});
  const auto row = nlohmann::json::parse(output_.str());
  EXPECT_EQ(row.at("seed"), -1);
  EXPECT_THAT(row.at("refusal").get<std::string>(), HasSubstr("4 ranks wanted"));
  output_.str("");
  run(path, false, "", {"tokens_per_step=[32, 256]", "gpus=2"});  // every length is 64
  EXPECT_THAT(output_.str(), HasSubstr("n/a  length table: nearly every length is above 32 tokens"));
  EXPECT_THAT(output_.str(), HasSubstr("2 GPUs, 256 tokens, cap 1: mean/worst of 2"));
}

TEST_F(BenchPlanner, AFailedBatchEndsNoGridAndIsTriedAgain) {
  const std::string kept = (folder_.path() / "kept.jsonl").string();
  CommandLine line;
  line.arguments = {"planner", small_grid("policies: [\"longest_first\", \"te_cp\"]\n")};
  line.set = {"gpus=2"};
  line.out_path = kept;
  line.output = &output_;
  line.errors = &errors_;
  const auto failing = [](const scheduler::PlanRequest& request) -> scheduler::PlannerScore {
    if (request.options.policy == "longest_first") throw std::logic_error("a bug");
    return scheduler::score_planner(request);
  };
  EXPECT_EQ(run_bench_planner(line, failing), 1);
  EXPECT_THAT(output_.str(), ::testing::ContainsRegex("longest_first +n/a .*  failed: a bug\nte_cp +1.0"));
  EXPECT_THAT(errors_.str(), HasSubstr("longest_first 0: failed: a bug\n"));
  output_.str("");
  EXPECT_EQ(run_bench_planner(line), 0);
  EXPECT_THAT(output_.str(), ::testing::ContainsRegex("longest_first +1.0"));
  std::ifstream file(kept);
  EXPECT_EQ(std::count(std::istreambuf_iterator<char>(file), {}, '\n'), 4);
}

TEST_F(BenchPlanner, NeedsNoGrid) {
  std::ofstream(folder_.path() / "lengths.csv") << "64\n64\n64\n64\n";
  const std::string configs = BALLAST_SOURCE_DIR "/configs/";
  const Invocation invocation = parse_command_line(
      {"bench", "planner", "--cluster", configs + "clusters/two_nodes_two_ranks.textproto", "--model",
       configs + "models/tiny.textproto", "--lengths", (folder_.path() / "lengths.csv").string(), "--policy", "longest_first"},
      output_, errors_);
  ASSERT_TRUE(invocation.command->runs_here(invocation.line));
  EXPECT_EQ(invocation.command->run(invocation.line), 0);
  EXPECT_THAT(output_.str(), HasSubstr("two_nodes_two_ranks, tiny, lengths, 4 GPUs, 256 tokens, cap 1.1"));
}

TEST_F(BenchPlanner, ARunIsItsOwnGrid) {
  std::ofstream(folder_.path() / "lengths.csv") << "bin_lo_tokens,bin_hi_tokens,fraction\n64,65,1\n";
  const std::string configs = BALLAST_SOURCE_DIR "/configs/";
  CommandLine line;
  line.arguments = {"planner", grid("model_file: \"" + configs + "models/tiny.textproto\"\ncluster_file: \"" + configs +
                                    "clusters/two_nodes_two_ranks.textproto\"\nscheduler { tokens_per_step: 512 }\n")};
  line.lengths_path = (folder_.path() / "lengths.csv").string();
  line.policy = "longest_first,te_cp";
  line.set = {"seeds=1"};
  line.output = &output_;
  line.errors = &errors_;
  EXPECT_EQ(run_bench_planner(line), 0);
  EXPECT_THAT(output_.str(), HasSubstr("lengths, 4 GPUs, 512 tokens, no cap: mean/worst of 1\n"));
  line.set = {"seeds=1", "scheduler.token_cap_per_rank=150", "scheduler.tokens_per_micro_batch=256"};
  line.json = true;
  output_.str("");
  EXPECT_EQ(run_bench_planner(line), 0);
  const auto row = nlohmann::json::parse(output_.str().substr(0, output_.str().find('\n')));
  EXPECT_EQ(row.at("token_cap"), 150.0 / 64);
  EXPECT_EQ(row.at("micro_batches"), 2);
}

}  // namespace
}  // namespace ballast::launch
