// The executables as users call them: what they load, what they answer, and how they refuse.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>
#include <thread>

#include "tests/support/child_process.h"
#include "tests/support/text_corpus.h"

namespace ballast::launch {
namespace {

using ::testing::HasSubstr;

using ::testing::Not;

const std::string kBallast = BALLAST_BINARY_DIR "/ballast";
const std::string kTinyRun = BALLAST_SOURCE_DIR "/configs/runs/tiny.textproto";

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// The memory map of a command at the moment when it has its answer: its output is a pipe that is already full.
std::string memory_map_at_first_output(std::vector<std::string> command) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe2 failed");
  fcntl(ends[1], F_SETFL, O_NONBLOCK);
  const std::string filling(4096, 'x');
  while (write(ends[1], filling.data(), filling.size()) > 0) {
  }
  fcntl(ends[1], F_SETFL, 0);
  std::vector<char*> arguments;
  for (std::string& word : command) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDOUT_FILENO);
    execv(arguments[0], arguments.data());
    _exit(127);
  }
  const std::string process = fmt::format("/proc/{}", child);
  std::string map;
  for (int i = 0; i < 2000 && map.empty(); ++i) {  // 20 s at most
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    if (read_file(process + "/syscall").starts_with("1 0x1 ")) map = read_file(process + "/maps");  // write(1, ...)
  }
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  close(ends[0]);
  close(ends[1]);
  return map;
}

TEST(Executables, PlanningCommandsLoadNeitherTorchNorMpi) {
  const std::vector<std::vector<std::string>> commands = {
      {kBallast, "--help"}, {kBallast, "plan", kTinyRun}, {kBallast, "config", "show", kTinyRun}, {kBallast, "config", "docs"}};
  for (const std::vector<std::string>& command : commands) {
    const std::string map = memory_map_at_first_output(command);
    ASSERT_THAT(map, HasSubstr("/ballast")) << command[1] << ": no answer within the time";
    EXPECT_THAT(map, HasSubstr("libprotobuf")) << "the map is of the wrong moment";
    EXPECT_THAT(map, Not(HasSubstr("libtorch")));
    EXPECT_THAT(map, Not(HasSubstr("libc10")));
    EXPECT_THAT(map, Not(HasSubstr("libmpi")));
  }
}

struct Answer {
  int code;
  std::string output;
};
Answer answer_of(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), kBallast);
  support::ChildProcess process(arguments);
  const int code = process.wait(std::chrono::seconds(60));
  return {code, process.output()};
}

TEST(Executables, UnknownFieldIsLocatedAndANearNameOffered) {
  support::TemporaryFolder folder;
  const std::string run_file = (folder.path() / "run.textproto").string();
  std::ofstream(run_file) << "optim {\n  lr_schedule { warmpu_steps: 3 }\n}\n";
  for (const char* command : {"train", "plan", "eval", "generate"}) {
    const Answer answer = answer_of({command, run_file});
    EXPECT_EQ(answer.code, 2) << command;
    EXPECT_THAT(answer.output, HasSubstr(run_file + ":2:17: unknown key \"warmpu_steps\"")) << command;
    EXPECT_THAT(answer.output, HasSubstr("did you mean \"warmup_steps\"?")) << command;
  }
}

TEST(Executables, ExpertsThatCannotBeSharedAreRefused) {
  const Answer answer = answer_of({"config", "check", kTinyRun, "--set", "parallel.ep=3"});
  EXPECT_EQ(answer.code, 2);
  EXPECT_THAT(answer.output, HasSubstr("parallel.ep"));
}

TEST(Executables, PlanIsReadableByMachines) {
  const Answer answer = answer_of({"plan", kTinyRun, "--json"});
  ASSERT_EQ(answer.code, 0) << answer.output;
  const nlohmann::json plan = nlohmann::json::parse(answer.output);
  EXPECT_TRUE(plan.contains("lengths"));
  EXPECT_EQ(plan.at("ranks").size(), 4U);
}

TEST(Executables, UnknownCommandIsAnsweredWithTheKnownOnes) {
  const Answer answer = answer_of({"trian", kTinyRun});
  EXPECT_EQ(answer.code, 2);
  EXPECT_THAT(answer.output, HasSubstr("train"));
}

/// Trains a little, then asks the finished run.
TEST(Executables, TrainThenEvalGenerateBench) {
  support::TemporaryFolder folder;
  support::write_text_corpus(folder.path() / "data", 60, 5);
  const std::string run_file = (folder.path() / "run.textproto").string();
  std::ofstream(run_file) << fmt::format(R"(
model {{
  name: "small" hidden_size: 16 num_layers: 2 num_attention_heads: 2 num_key_value_heads: 1 head_dim: 8
  intermediate_size: 24 num_experts: 4 expert_intermediate_size: 8
}}
data {{ text_files {{ folder: "{0}/data" }} held_out_fraction: 0.2 max_sequence_tokens: 64 }}
scheduler {{ tokens_per_step: 256 }}
train {{ run_folder: "{0}/run" total_tokens: 3000 }}
generate {{ max_new_tokens: 4 }}
)",
                                         folder.path().string());
  const Answer before = answer_of({"eval", run_file});
  EXPECT_EQ(before.code, 5) << before.output;
  EXPECT_THAT(before.output, HasSubstr("train first"));

  const Answer trained = answer_of({"train", run_file});
  ASSERT_EQ(trained.code, 0) << trained.output;
  const nlohmann::json summary = nlohmann::json::parse(read_file((folder.path() / "run/summary.json").string()));
  for (const char* key : {"heldout_bits_per_byte", "bigram_bits_per_byte", "steps", "tokens", "tokens_per_second", "mfu",
                          "expert_load_max_over_mean_worst", "expert_load_above_minimum_worst", "checkpoint"}) {
    EXPECT_TRUE(summary.contains(key)) << key;
  }
  EXPECT_EQ(summary.at("expert_load_above_minimum_worst"), 0);

  const Answer evaluated = answer_of({"eval", run_file, "--json"});
  ASSERT_EQ(evaluated.code, 0) << evaluated.output;
  const nlohmann::json score = nlohmann::json::parse(evaluated.output.substr(evaluated.output.find('{')));
  EXPECT_NEAR(score.at("bits_per_byte").get<double>(), summary.at("heldout_bits_per_byte").get<double>(), 1e-6);

  const Answer generated =
      answer_of({"generate", (folder.path() / "run/config.resolved.textproto").string(), "--set", "generate.prompt=\"ship \""});
  EXPECT_EQ(generated.code, 0) << generated.output;
  EXPECT_THAT(generated.output, HasSubstr("ship "));

  const Answer timed = answer_of({"bench", "step", run_file, "--json"});
  ASSERT_EQ(timed.code, 0) << timed.output;
  const nlohmann::json timing = nlohmann::json::parse(timed.output);
  EXPECT_GT(timing.at("tokens_per_second").get<double>(), 0);
  double all_phases = 0;
  for (const auto& [phase, fraction] : timing.at("phase_fraction").items()) all_phases += fraction.get<double>();
  EXPECT_NEAR(all_phases, 1, 1e-9);
}

}  // namespace
}  // namespace ballast::launch
