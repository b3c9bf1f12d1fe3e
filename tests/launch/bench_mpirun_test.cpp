// Benchmarks of several processes: what they answer, not how fast they are.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "launch/config_file.h"
#include "runtime/train/run_config.pb.h"
#include "scheduler/topology/topology_io.h"
#include "tests/support/child_process.h"
#include "tests/support/text_corpus.h"

namespace ballast::launch {
namespace {

using std::chrono::seconds;
using ::testing::HasSubstr;

/// A folder with documents and a run of two nodes of two ranks.
class Bench : public ::testing::Test {
 protected:
  void SetUp() override {
    support::write_text_corpus(folder_.path() / "data", 60, 5);
    std::ofstream(path("run.textproto")) << fmt::format(R"(
model {{
  name: "small" hidden_size: 64 num_layers: 2 num_attention_heads: 4 num_key_value_heads: 2 head_dim: 16
  intermediate_size: 96 num_experts: 4 expert_intermediate_size: 32
}}
cluster {{ uniform {{ num_nodes: 2 node {{ num_ranks: 2 num_nics: 1 }} }} memory_bytes: 123456789 }}
data {{ text_files {{ folder: "{0}/data" }} held_out_fraction: 0.2 max_sequence_tokens: 64 }}
scheduler {{ tokens_per_step: 256 }}
parallel {{ ep: 2 }}
train {{ run_folder: "{0}/run" }}
)",
                                                        folder_.path().string());
    std::ofstream(path("lengths.csv")) << "200\n3\n70\n9\n65\n";
  }

  std::string path(const char* name) const { return (folder_.path() / name).string(); }

  /// The JSON that `ballast bench` prints on four ranks.
  nlohmann::json bench(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {BALLAST_BINARY_DIR "/ballast", "bench"});
    arguments.emplace_back("--json");
    support::ChildProcess process(support::mpirun_command(4, arguments));
    const int code = process.wait(seconds(300));
    EXPECT_EQ(code, 0) << process.output();
    const std::string output = process.output();
    const std::size_t begin = output.find("{\"benchmark\"");
    if (code != 0 || begin == std::string::npos) throw std::runtime_error("no answer: " + output);
    return nlohmann::json::parse(output.substr(begin, output.find('\n', begin) - begin));
  }

  support::TemporaryFolder folder_;
};

TEST_F(Bench, CalibrationWritesAClusterThatLoads) {
  const nlohmann::json answer = bench({"calibrate", path("run.textproto"), "--bench", "--out", path("measured.textproto")});
  EXPECT_GT(answer.at("work_fit").at("pair_seconds").get<double>(), 0);
  EXPECT_GT(answer.at("work_fit").at("token_seconds").get<double>(), 0);
  EXPECT_EQ(answer.at("links").size(), 4u);  // inside a node and between nodes, all ranks and alone
  EXPECT_FALSE(answer.at("attention_blocks").empty());
  EXPECT_TRUE(answer.at("noisy").is_boolean());
  const nlohmann::json& prediction = answer.at("prediction");
  EXPECT_EQ(prediction.at("batches").size(), 20u);
  EXPECT_TRUE(prediction.contains("median_relative_error"));
  EXPECT_GT(prediction.at("batches")[0].at("predicted_seconds").get<double>(), 0);

  const LoadedConfig loaded = load_config({.run_file = path("run.textproto"), .cluster_file = path("measured.textproto")});
  const scheduler::Topology topology = scheduler::topology_from(loaded.run->cluster());
  EXPECT_EQ(topology.name, "measured");
  EXPECT_EQ(topology.num_nodes(), 2);
  EXPECT_EQ(topology.num_ranks(), 4);
  EXPECT_EQ(topology.memory_bytes, 123456789);
  const nlohmann::json& cluster = answer.at("cluster");
  EXPECT_EQ(topology.attention_flops_per_second, cluster.at("attention_flops_per_second").get<double>());
  EXPECT_EQ(topology.linear_flops_per_second, cluster.at("linear_flops_per_second").get<double>());
  EXPECT_EQ(topology.intra_node_bytes_per_second, cluster.at("intra_node_bytes_per_second").get<double>());
  EXPECT_EQ(topology.message_seconds, cluster.at("message_seconds").get<double>());
  EXPECT_EQ(topology.inter_node_message_seconds, cluster.at("inter_node_message_seconds").get<double>());
  // One card serves both ranks of a node.
  for (const nlohmann::json& link : answer.at("links")) {
    if (!link.at("between_nodes").get<bool>() || link.at("alone").get<bool>()) continue;
    EXPECT_EQ(topology.nodes[0].nic_bytes_per_second, 2 * link.at("bytes_per_second").get<double>());
  }
}

TEST_F(Bench, PoliciesTrainOnTheSameBatch) {
  const nlohmann::json answer = bench({"policies", path("run.textproto"), "--lengths", path("lengths.csv"), "--policy",
                                       "longest_first,sequential,te_cp,ballast", "--set", "scheduler.token_cap_per_rank=180"});
  EXPECT_EQ(answer.at("sequences"), 5);
  EXPECT_EQ(answer.at("tokens"), 347);
  EXPECT_EQ(answer.at("longest_tokens"), 200);
  EXPECT_EQ(answer.at("cores").at("ranks_of_machine"), 4);
  const nlohmann::json& rows = answer.at("policies");
  ASSERT_EQ(rows.size(), 4u);
  // A document of 200 tokens cannot be kept whole under this cap.
  EXPECT_EQ(rows[0].at("policy"), "longest_first");
  EXPECT_THAT(rows[0].at("refused").get<std::string>(), HasSubstr("200"));
  EXPECT_EQ(rows[1].at("policy"), "sequential");
  for (const std::size_t i : {1, 2, 3}) {
    for (const char* key :
         {"step_seconds_median", "predicted_seconds", "cpu_seconds", "busy_seconds", "speedup", "busy_speedup", "plan_seconds"}) {
      EXPECT_GT(rows[i].at(key).get<double>(), 0) << key;
    }
    EXPECT_GE(rows[i].at("exposed_communication_seconds").get<double>(), 0);
    EXPECT_GE(rows[i].at("imbalance_planned").get<double>(), 1);
    EXPECT_GE(rows[i].at("imbalance_measured").get<double>(), 1);
    EXPECT_GT(rows[i].at("bytes_sent").get<std::int64_t>(), rows[i].at("attention_bytes_sent").get<std::int64_t>());
    EXPECT_GT(rows[i].at("attention_bytes_sent").get<std::int64_t>(), 0);
  }
  EXPECT_NEAR(rows[2].at("loss").get<double>(), rows[3].at("loss").get<double>(), 1e-4);
  // Everything on rings of all ranks sends more than short documents kept whole.
  EXPECT_GT(rows[2].at("attention_bytes_sent").get<std::int64_t>(), rows[3].at("attention_bytes_sent").get<std::int64_t>());
}

TEST_F(Bench, TheScriptMeasuresThenCompares) {
  if (std::filesystem::path(BALLAST_BINARY_DIR) != std::filesystem::path(BALLAST_SOURCE_DIR) / "build/cpu") {
    GTEST_SKIP() << "the script speaks of build/cpu, this build is in " << BALLAST_BINARY_DIR;
  }
  support::ChildProcess process({BALLAST_SOURCE_DIR "/launch/compare_policies.sh", "--lengths", path("lengths.csv"), "--policies",
                                 "te_cp,ballast", "--set", "data.text_files.folder=\"" + path("data") + "\"", "--set",
                                 "data.text_files.glob=\"*\"", "--json"});
  ASSERT_EQ(process.wait(seconds(300)), 0) << process.output();
  EXPECT_THAT(process.output(), HasSubstr("{\"benchmark\":\"calibrate\""));
  EXPECT_THAT(process.output(), HasSubstr("{\"benchmark\":\"policies\""));
  EXPECT_THAT(process.output(), HasSubstr("\"policy\":\"ballast\",\"step_seconds_median\""));
}

TEST_F(Bench, TheScriptRefusesRanksWithASlowLink) {
  support::ChildProcess process({BALLAST_SOURCE_DIR "/launch/compare_policies.sh", "--ranks", "4", "--slow-link", "200mbit"});
  EXPECT_EQ(process.wait(seconds(20)), 2);
  EXPECT_THAT(process.output(), HasSubstr("--ranks 4 with --slow-link 200mbit"));
}

}  // namespace
}  // namespace ballast::launch
