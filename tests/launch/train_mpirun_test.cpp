// Jobs of four processes, as users start them: what they do when they are stopped, killed, or asked to end.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/support/child_process.h"
#include "tests/support/text_corpus.h"

namespace ballast::launch {
namespace {

using std::chrono::seconds;
using ::testing::AnyOf;
using ::testing::HasSubstr;

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// A folder with documents and a run that takes a while on four ranks.
class TrainJob : public ::testing::Test {
 protected:
  void SetUp() override {
    support::write_text_corpus(folder_.path() / "data", 60, 5);
    std::ofstream(run_file_) << fmt::format(R"(
model {{
  name: "small" hidden_size: 16 num_layers: 2 num_attention_heads: 2 num_key_value_heads: 1 head_dim: 8
  intermediate_size: 24 num_experts: 4 expert_intermediate_size: 8
}}
cluster {{ uniform {{ num_nodes: 2 node {{ num_ranks: 2 }} }} }}
data {{ text_files {{ folder: "{0}/data" }} held_out_fraction: 0.2 max_sequence_tokens: 64 }}
scheduler {{ tokens_per_step: 256 }}
parallel {{ ep: 2 deadline_seconds: 4 }}
train {{ run_folder: "{0}/run" total_tokens: 200000 }}
checkpoint {{ every_steps: 20 }}
metrics {{ log_every_steps: 1 }}
generate {{ max_new_tokens: 4 }}
)",
                                            folder_.path().string());
  }

  std::vector<std::string> train_command(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> command = {BALLAST_BINARY_DIR "/ballast", "train", run_file_.string()};
    command.insert(command.end(), more.begin(), more.end());
    return support::mpirun_command(4, command);
  }

  nlohmann::json status() const { return nlohmann::json::parse(read_file(folder_.path() / "run" / "status.json")); }

  support::TemporaryFolder folder_;
  const std::filesystem::path run_file_ = folder_.path() / "run.textproto";
};

/// The process of a rank. Throws when there is none.
int pid_of_rank(const support::ChildProcess& job, int rank) {
  const std::string variable = fmt::format("OMPI_COMM_WORLD_RANK={}", rank);
  for (const int pid : job.family()) {
    const std::string process = fmt::format("/proc/{}", pid);
    if (read_file(process + "/comm") != "ballast-runtime\n") continue;
    if (read_file(process + "/environ").find(variable + '\0') != std::string::npos) return pid;
  }
  throw std::runtime_error(fmt::format("rank {} is not running:\n{}", rank, job.output()));
}

TEST_F(TrainJob, StoppedRankIsNamedWithinTheDeadline) {
  support::ChildProcess job(train_command());
  job.wait_for_output("step=10/", seconds(60));
  kill(pid_of_rank(job, 3), SIGSTOP);
  EXPECT_EQ(job.wait(seconds(40)), 7) << job.output();
  // Which call notices first is chance; each names rank 3, alone, among others, or by its number in the world.
  EXPECT_THAT(job.output(), AnyOf(HasSubstr("no answer from rank 3 "), HasSubstr("2, 3 within"), HasSubstr("waiting for 3")));
  EXPECT_THAT(job.output(),
              AnyOf(HasSubstr("all_reduce"), HasSubstr("all_gather"), HasSubstr("exchange"), HasSubstr("reduce_scatter")));
  EXPECT_TRUE(job.wait_until_gone(seconds(10)));
}

TEST_F(TrainJob, KilledRankEndsTheJobAndResumeGoesOn) {
  {
    support::ChildProcess job(train_command());
    job.wait_for_output("ckpt=20 ", seconds(60));
    kill(pid_of_rank(job, 2), SIGKILL);
    EXPECT_NE(job.wait(seconds(20)), 0);
    EXPECT_TRUE(job.wait_until_gone(seconds(10)));
  }
  support::ChildProcess resumed(train_command({"--resume", "--set", "train.stop_after_steps=3"}));
  EXPECT_EQ(resumed.wait(seconds(60)), 75) << resumed.output();
  EXPECT_THAT(resumed.output(), HasSubstr("using " + (folder_.path() / "run").string()));
  EXPECT_EQ(status().at("state"), "stopped");
}

TEST_F(TrainJob, SignalSavesAndStops) {
  for (const int signal : {SIGUSR1, SIGTERM}) {
    support::ChildProcess job(
        train_command(signal == SIGTERM ? std::vector<std::string>{"--resume"} : std::vector<std::string>{}));
    job.wait_for_output("step=", seconds(60));
    // mpirun forwards SIGUSR1; SIGTERM, as srun sends it, goes to a rank.
    kill(signal == SIGUSR1 ? job.pid() : pid_of_rank(job, 1), signal);
    EXPECT_EQ(job.wait(seconds(40)), 75) << job.output();
    EXPECT_THAT(job.output(), HasSubstr("--resume goes on"));
    EXPECT_EQ(status().at("state"), "stopped");
    EXPECT_EQ(status().at("exit_code"), 75);
    EXPECT_TRUE(job.wait_until_gone(seconds(10)));
  }
}

TEST_F(TrainJob, WrongInputEndsWithOneMessageAndCode) {
  support::ChildProcess job(train_command({"--set", "parallel.ep=3"}));
  EXPECT_EQ(job.wait(seconds(40)), 2) << job.output();
  EXPECT_THAT(job.output(), HasSubstr("ep"));
  support::ChildProcess missing(train_command({"--set", "data.text_files.folder=\"/nowhere\""}));
  EXPECT_EQ(missing.wait(seconds(40)), 4) << missing.output();
  EXPECT_THAT(missing.output(), HasSubstr("/nowhere"));
  support::ChildProcess spread(train_command({"--set", "parallel.tp=2"}));
  EXPECT_EQ(spread.wait(seconds(40)), 2) << spread.output();
  EXPECT_THAT(spread.output(), HasSubstr("parallel.tp: 2; training does not spread layers over ranks"));
}

}  // namespace
}  // namespace ballast::launch
