// A run that was stopped and resumed is the run that never stopped, bit for bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/text_corpus.h"
#include "training_run.h"

namespace ballast::train {
namespace {

using checkpoint::ExitCode;
using ::testing::HasSubstr;

class Resume : public ::testing::Test {
 protected:
  void SetUp() override {
    support::write_text_corpus(unbroken_.path() / "data", 60, 5);
    support::write_text_corpus(broken_.path() / "data", 60, 5);
  }
  support::TemporaryFolder unbroken_, broken_;
};

void expect_resumed_equals_unbroken(const std::filesystem::path& unbroken, const std::filesystem::path& broken, int ranks,
                                    const std::vector<std::string>& set) {
  ASSERT_EQ(train_small(unbroken, ranks, false, set).exit_code, ExitCode::kDone);
  std::vector<std::string> stop = set;
  stop.push_back("train.stop_after_steps=7");
  ASSERT_EQ(train_small(broken, ranks, false, stop).exit_code, ExitCode::kAgain);
  ASSERT_EQ(train_small(broken, ranks, true, stop).exit_code, ExitCode::kAgain);
  const RunOutcome last = train_small(broken, ranks, true, set);
  ASSERT_EQ(last.exit_code, ExitCode::kDone) << last.console;
  EXPECT_EQ(state_of_run(unbroken / "run"), state_of_run(broken / "run"));
}

TEST_F(Resume, TwiceOnOneRankIsBitwise) { expect_resumed_equals_unbroken(unbroken_.path(), broken_.path(), 1, {}); }
TEST_F(Resume, TwiceOnTwoRanksWithShardedExpertsIsBitwise) {
  expect_resumed_equals_unbroken(unbroken_.path(), broken_.path(), 2, {"parallel.ep=2"});
}

TEST_F(Resume, OnOtherRanksGoesOn) {
  ASSERT_EQ(train_small(broken_.path(), 4, false, {"parallel.ep=2", "train.stop_after_steps=7"}).exit_code, ExitCode::kAgain);
  const RunOutcome resumed = train_small(broken_.path(), 2, true, {"parallel.ep=1"});
  EXPECT_EQ(resumed.exit_code, ExitCode::kDone) << resumed.console;
}

TEST_F(Resume, WithAnotherConfigIsRefused) {
  ASSERT_EQ(train_small(broken_.path(), 1, false, {"train.stop_after_steps=3"}).exit_code, ExitCode::kAgain);
  try {
    train_small(broken_.path(), 1, true, {"optim.learning_rate=0.5"});
    FAIL() << "another learning rate was taken";
  } catch (const std::exception& error) {
    EXPECT_THAT(error.what(), HasSubstr("another config"));
    EXPECT_THAT(error.what(), HasSubstr("the fields that differ"));
  }
}

TEST_F(Resume, WithOtherDataIsRefused) {
  ASSERT_EQ(train_small(broken_.path(), 1, false, {"train.stop_after_steps=3"}).exit_code, ExitCode::kAgain);
  std::ofstream(broken_.path() / "data" / "document-0.txt", std::ios::app) << "one more word";
  try {
    train_small(broken_.path(), 1, true);
    FAIL() << "changed data were taken";
  } catch (const std::exception& error) {
    EXPECT_THAT(error.what(), HasSubstr("the data changed"));
  }
}

TEST_F(Resume, AnExistingRunIsNeverOverwritten) {
  ASSERT_EQ(train_small(unbroken_.path(), 1, false).exit_code, ExitCode::kDone);
  const std::string before = state_of_run(unbroken_.path() / "run");
  const RunOutcome second = train_small(unbroken_.path(), 1, false);
  EXPECT_EQ(second.exit_code, ExitCode::kDone);
  EXPECT_THAT(second.console, HasSubstr("run-2"));
  EXPECT_EQ(state_of_run(unbroken_.path() / "run"), before);
  EXPECT_EQ(state_of_run(unbroken_.path() / "run-2"), before) << "the same run twice gives the same bits";
}

TEST_F(Resume, DamagedCheckpointIsNamedAndThePreviousOneUsed) {
  ASSERT_EQ(train_small(unbroken_.path(), 1, false).exit_code, ExitCode::kDone);
  ASSERT_EQ(train_small(broken_.path(), 1, false, {"train.stop_after_steps=7"}).exit_code, ExitCode::kAgain);
  const std::filesystem::path damaged = broken_.path() / "run/checkpoints/step-00000007/rank-00000.safetensors";
  std::fstream file(damaged, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(-1, std::ios::end);
  const char last = static_cast<char>(file.get() ^ 1);
  file.seekp(-1, std::ios::end);
  file.put(last);
  file.close();
  const RunOutcome resumed = train_small(broken_.path(), 1, true);
  EXPECT_EQ(resumed.exit_code, ExitCode::kDone) << resumed.console;
  EXPECT_THAT(resumed.console, HasSubstr("rank-00000.safetensors"));
  EXPECT_THAT(resumed.console, HasSubstr("step-00000005"));
  EXPECT_EQ(state_of_run(unbroken_.path() / "run"), state_of_run(broken_.path() / "run"));
}

}  // namespace
}  // namespace ballast::train
