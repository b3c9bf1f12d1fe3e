#include <gmock/gmock.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "launch/commands.h"
#include "scheduler/plan/fingerprint.h"
#include "scheduler/plan/plan.pb.h"
#include "scheduler/plan/plan_io.h"
#include "scheduler/policy/policy.h"
#include "scheduler/policy/registry.h"
#include "tests/support/text_corpus.h"

namespace ballast::launch {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

const std::string kConfigs = BALLAST_SOURCE_DIR "/configs/";

class Plan : public ::testing::Test {
 protected:
  /// Writes a file and returns its path.
  std::string file(const std::string& name, const std::string& text) const {
    std::ofstream(folder_.path() / name) << text;
    return (folder_.path() / name).string();
  }
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }

  /// What the command prints.
  std::string plan(std::vector<std::string> arguments) {
    std::ostringstream output, errors;
    arguments.insert(arguments.begin(), "plan");
    const Invocation invocation = parse_command_line(arguments, output, errors);
    EXPECT_EQ(invocation.command->run(invocation.line), 0);
    errors_ = errors.str();
    return output.str();
  }
  /// Of the 7B model on cluster A, without a run file.
  std::string plan_7b(const std::string& lengths, std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"--cluster", kConfigs + "clusters/cluster_a.textproto",
                                          "--model",   kConfigs + "models/llama_7b.textproto",
                                          "--lengths", lengths};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return plan(arguments);
  }
  std::string refusal(const std::vector<std::string>& arguments) {
    try {
      plan(arguments);
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "not refused";
  }
  /// Two ranks on two nodes, of rates that make a pair of the 7B model 1 ms, and a token 1 s:
  /// 32 layers * 7 * 2 * 4096 operations a pair, 6 * (32 * (4 * 4096^2 + 3 * 4096 * 11008) + 32000 * 4096) a token.
  std::string round_cluster(const std::string& memory_bytes) const {
    return file("round.textproto",
                "uniform { num_nodes: 2 node { num_ranks: 1 } } attention_flops_per_second: 1835008000 "
                "linear_flops_per_second: 39642464256 memory_bytes: " +
                    memory_bytes);
  }
  std::vector<std::string> hand_made(const std::string& memory_bytes) const {
    return {"--cluster", round_cluster(memory_bytes), "--model",  kConfigs + "models/llama_7b.textproto",
            "--lengths", file("two.csv", "10\n4\n"),  "--policy", "longest_first"};
  }

  support::TemporaryFolder folder_;
  std::string errors_;
};

/// A line of a table, by its first word.
std::vector<std::string> row(const std::string& table, const std::string& name) {
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::vector<std::string> cells{std::istream_iterator<std::string>(words), {}};
    if (!cells.empty() && cells[0] == name) return cells;
  }
  return {};
}

TEST_F(Plan, TheTableOfAPlanMadeByHand) {
  const std::string table = plan(hand_made("85899345920"));
  EXPECT_THAT(table,
              HasSubstr("policy longest_first, 2 ranks on 2 nodes, 2 sequences, 14 tokens, 1 micro-batch in data order\n"));
  // 10 * 11 / 2 and 4 * 5 / 2 pairs. 6,738,415,616 parameters at 2 + 4 + 12 / 2 bytes, and 4,231,424 bytes a token.
  EXPECT_THAT(row(table, "0"), ElementsAre("0", "0", "10", "1", "0.055000", "10.000000", "80.903"));
  EXPECT_THAT(row(table, "1"), ElementsAre("1", "1", "4", "1", "0.010000", "4.000000", "80.878"));
  EXPECT_THAT(table, HasSubstr("work 1.4298, attention 1.6923, tokens 1.4286"));
  EXPECT_THAT(table, HasSubstr("local 100.0 %, node rings 0.0 %, over nodes 0.0 %"));
  EXPECT_THAT(table, HasSubstr("memory: a rank has 85.899 GB"));
  EXPECT_THAT(table, Not(HasSubstr("need more memory")));
}

TEST_F(Plan, OneIsNotMany) {
  std::vector<std::string> arguments = hand_made("85899345920");
  arguments[5] = file("one.csv", "1\n");
  arguments.insert(arguments.end(), {"--world", "1"});
  EXPECT_THAT(plan(arguments), HasSubstr("1 rank on 1 node, 1 sequence, 1 token, 1 micro-batch in data order\n"));
}

TEST_F(Plan, RanksWithoutTheMemoryAreMarkedAndCounted) {
  const std::string activations = plan(hand_made("80900000000"));
  EXPECT_EQ(row(activations, "0").back(), "!");
  EXPECT_EQ(row(activations, "1").back(), "80.878");
  // (80,900,000,000 - 80,860,987,392) / 4,231,424.
  EXPECT_THAT(activations, AllOf(HasSubstr("1 of 2 ranks need more memory than they have"),
                                 HasSubstr("room for the activations of 9 tokens of a micro-batch; change "
                                           "scheduler.token_cap_per_rank")));
  const std::string state = plan(hand_made("80000000000"));
  EXPECT_THAT(state, AllOf(HasSubstr("2 of 2 ranks need more memory than they have: weights, gradients and moments alone take "
                                     "80.861 GB; change parallel.tp or the number of ranks"),
                           Not(HasSubstr("parallel.ep"))));
  std::vector<std::string> json = hand_made("80000000000");
  json.emplace_back("--json");
  EXPECT_THAT(plan(json), Not(HasSubstr("need more")));
  EXPECT_THAT(errors_, HasSubstr("2 of 2 ranks need more memory than they have"));
}

TEST_F(Plan, A30BModelDoesNotFitIntoOneGpu) {
  std::vector<std::string> arguments = {"--cluster", kConfigs + "clusters/cluster_a.textproto",
                                        "--model",   kConfigs + "models/llama_30b.textproto",
                                        "--lengths", kConfigs + "workloads/prolong64k.csv"};
  EXPECT_THAT(plan(arguments), HasSubstr("16 of 16 ranks need more memory than they have"));
  arguments.insert(arguments.end(), {"--set", "parallel.tp=8", "--set", "scheduler.tokens_per_step=32768"});
  EXPECT_THAT(plan(arguments), AllOf(HasSubstr("2 ranks on 2 nodes"), HasSubstr("a rank (8 GPUs) has 687.195 GB"),
                                     Not(HasSubstr("need more memory"))));
}

TEST_F(Plan, ExpertsAreSpreadOverTheRanksOfTheRun) {
  std::vector<std::string> arguments = {"--cluster", kConfigs + "clusters/cluster_a.textproto",
                                        "--model",   kConfigs + "models/moe_8x550m.textproto",
                                        "--lengths", file("equal.csv", "4096\n4096\n"),
                                        "--policy",  "sequential",
                                        "--set",     "parallel.ep=1"};
  const auto memory = [&] { return std::stod(row(plan(arguments), "0").back()); };
  const double whole = memory();
  arguments.back() = "parallel.ep=8";
  // 24 layers of 8 experts of 3 * 1280 * 3456 elements, 2 + 4 bytes each, of which an eighth stays. The moments of an eighth are
  // shared by 2 ranks, as those of all were by 16.
  EXPECT_NEAR(whole - memory(), 24 * 8 * 3 * 1280 * 3456.0 * 6 * 7 / 8 / 1e9, 0.0011);
  arguments.insert(arguments.end(), {"--set", "parallel.tp=4"});
  EXPECT_THAT(refusal(arguments), HasSubstr("parallel.ep = 8 does not divide the 4 groups of 4 ranks that parallel.tp makes"));
}

TEST_F(Plan, JsonIsThePlan) {
  std::vector<std::string> arguments = hand_made("85899345920");
  const std::string table = plan(arguments);
  arguments.insert(arguments.end(), {"--json", "--out", path("plan.json")});
  const std::string json = plan(arguments);
  std::ifstream written(path("plan.json"));
  EXPECT_EQ(json, std::string(std::istreambuf_iterator<char>(written), {}));
  schema::Plan message;
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(json, &message).ok());
  const scheduler::Plan read = scheduler::plan_from(message);
  EXPECT_EQ(read.policy, "longest_first");
  EXPECT_THAT(read.lengths, ElementsAre(10, 4));
  ASSERT_EQ(read.micro_batches.size(), 1u);
  EXPECT_THAT(read.micro_batches[0].homes,
              ElementsAre(ElementsAre(scheduler::Chunk{0, 0, 10}), ElementsAre(scheduler::Chunk{1, 0, 4})));
  std::ostringstream fingerprint;
  fingerprint << "fingerprint " << std::hex << scheduler::fingerprint(read);
  EXPECT_THAT(table, HasSubstr(fingerprint.str()));
}

TEST_F(Plan, WithoutARunTheStepIs4096TokensARankPlacedByBallast) {
  const std::string pile = kConfigs + "workloads/pile.csv";
  EXPECT_THAT(plan_7b(pile), AllOf(HasSubstr("policy ballast, 16 ranks on 2 nodes"), HasSubstr(" 65536 tokens")));
  EXPECT_THAT(plan_7b(pile, {"--set", "parallel.tp=2"}), HasSubstr(" 65536 tokens"));
  EXPECT_THAT(plan_7b(pile, {"--set", "scheduler.tokens_per_step=8192", "--set", "scheduler.policy=te_cp"}),
              AllOf(HasSubstr("policy te_cp"), HasSubstr(" 8192 tokens")));
}

TEST_F(Plan, TheClusterFollowsTheWorld) {
  const std::string pile = kConfigs + "workloads/pile.csv";
  EXPECT_THAT(plan_7b(pile, {"--world", "64"}), AllOf(HasSubstr("64 ranks on 8 nodes"), HasSubstr(" 262144 tokens")));
  EXPECT_THAT(plan_7b(pile, {"--world", "4"}), HasSubstr("4 ranks on 1 node,"));
  std::vector<std::string> uneven = hand_made("85899345920");
  uneven[1] = file("uneven.textproto", "name: 'odd' nodes { num_ranks: 1 } nodes { num_ranks: 2 }");
  uneven.insert(uneven.end(), {"--world", "5"});
  EXPECT_THAT(refusal(uneven), HasSubstr("5 ranks wanted, but 'odd' has 3 on nodes that differ, so it cannot be grown"));
}

TEST_F(Plan, PoliciesFormMicroBatchesOfABatchButOnlyPlaceARun) {
  const std::vector<std::string> step = {"--set", "scheduler.tokens_per_step=262144", "--set", "scheduler.tokens_per_rank=4096"};
  const auto batches = [&](const std::string& policy) {
    std::vector<std::string> arguments = step;
    arguments.insert(arguments.end(), {"--policy", policy});
    return plan_7b(kConfigs + "workloads/prolong64k.csv", arguments);
  };
  EXPECT_THAT(batches("wlb"), HasSubstr(", 4 micro-batches formed by the policy\n"));
  EXPECT_THAT(batches("ballast"), HasSubstr(", 1 micro-batch in data order\n"));

  std::filesystem::create_directory(path("text"));
  support::write_text_corpus(path("text"), 200, 1);
  const std::string run =
      file("run.textproto", "model_file: \"" + kConfigs + "models/tiny.textproto\"\ncluster_file: \"" + kConfigs +
                                "clusters/two_nodes_two_ranks.textproto\"\n"
                                "data { text_files { folder: \"" +
                                path("text") +
                                "\" glob: \"*\" } max_sequence_tokens: 256 }\n"
                                "scheduler { policy: \"wlb\" tokens_per_step: 4096 tokens_per_micro_batch: "
                                "1024 }\n");
  const std::string of_run = plan({run});
  EXPECT_THAT(of_run, AllOf(HasSubstr("policy wlb, 4 ranks on 2 nodes"), HasSubstr(" micro-batches in data order\n")));
  // Lengths of another origin: neither the run's data nor the size of its step matters.
  EXPECT_THAT(plan({run, "--lengths", file("list.csv", "700\n700\n"), "--set", "scheduler.token_cap_per_rank=360", "--set",
                    "data.text_files.folder=\"gone\"", "--policy", "ballast"}),
              HasSubstr("2 sequences, 1400 tokens"));
}

TEST_F(Plan, TheCapIsHeldAgainstTheBatchThatIsPlanned) {
  std::string list = "98\n";
  for (int i = 0; i < 100; ++i) list += "15\n";
  const std::string lengths = file("list.csv", list);
  EXPECT_THAT(plan_7b(lengths, {"--set", "scheduler.token_cap_per_rank=110"}), HasSubstr("101 sequences, 1598 tokens"));
  EXPECT_THAT(refusal({"--cluster", kConfigs + "clusters/cluster_a.textproto", "--model", kConfigs + "models/llama_7b.textproto",
                       "--lengths", lengths, "--set", "scheduler.token_cap_per_rank=99"}),
              HasSubstr("a micro-batch of 1598 tokens needs 100 on each of 16 ranks, but token_cap_per_rank is 99"));
}

TEST_F(Plan, HelpSaysWhatThePoliciesAre) {
  std::ostringstream output;
  for (const char* command : {"plan", "simulate"}) {
    const std::string help = parse_command_line({command, "--help"}, output, output).text;
    for (const scheduler::Policy& policy : scheduler::policies())
      EXPECT_THAT(help, AllOf(HasSubstr(std::string("\n  ") + policy.name + " "), HasSubstr(policy.summary)));
    EXPECT_THAT(help, HasSubstr("Without a run file, --cluster, --model and --lengths are all needed"));
    EXPECT_THAT(help, HasSubstr("quantile,length_tokens"));
  }
  EXPECT_THAT(parse_command_line({"plan", "--help"}, output, output).text, HasSubstr("file for the plan"));
  EXPECT_THAT(parse_command_line({"simulate", "--help"}, output, output).text, HasSubstr("file for the trace"));
  EXPECT_THAT(parse_command_line({"train", "--help"}, output, output).text, Not(HasSubstr("Policies")));
}

TEST_F(Plan, AnUnknownPolicyIsAnsweredWithTheKnownOnes) {
  std::vector<std::string> arguments = hand_made("85899345920");
  arguments.back() = "balast";
  EXPECT_THAT(refusal(arguments), AllOf(HasSubstr("'balast'"), HasSubstr("zeppelin")));
}

/// `ballast plan` of one document of 4096 tokens and short ones for the quickstart's model, on `num_ranks` ranks.
std::vector<std::string> quickstart(const support::TemporaryFolder& folder, int num_ranks, const std::string& policy) {
  std::ofstream(folder.path() / "cluster.textproto") << "uniform { num_nodes: 1 node { num_ranks: " << num_ranks << " } }\n";
  std::ofstream(folder.path() / "lengths.csv") << "4096\n500\n80\n1200\n300\n";
  const std::string cap = std::to_string(6176 * 3 / (2 * num_ranks));
  return {"--cluster", (folder.path() / "cluster.textproto").string(), "--model",  kConfigs + "models/quickstart.textproto",
          "--lengths", (folder.path() / "lengths.csv").string(),       "--policy", policy,
          "--set",     "scheduler.token_cap_per_rank=" + cap};
}

TEST_F(Plan, UlyssesRunsWhereTheHeadsOfTheQuickstartAllow) {
  EXPECT_THAT(plan(quickstart(folder_, 2, "ulysses")), HasSubstr("policy ulysses, 2 ranks"));
}

TEST_F(Plan, UlyssesSaysWhyTheHeadsOfTheQuickstartAreTooFew) {
  EXPECT_THAT(plan(quickstart(folder_, 8, "ballast")), HasSubstr("policy ballast, 8 ranks"));
  EXPECT_THAT(refusal(quickstart(folder_, 8, "ulysses")),
              HasSubstr("no group has room for sequence 0 of 4096 tokens: 4 query heads, 2 key/value heads and "
                        "8 ranks allow 4 groups of 2 ranks"));
}

}  // namespace
}  // namespace ballast::launch
