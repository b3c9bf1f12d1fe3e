#include "launch/exit_code.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <new>
#include <stdexcept>

#include "launch/config_file.h"
#include "runtime/checkpoint/load.h"
#include "runtime/checkpoint/publish.h"
#include "runtime/checkpoint/run_folder.h"
#include "runtime/comm/world.h"
#include "runtime/data/data_error.h"
#include "scheduler/policy/policy.h"

namespace ballast::launch {
namespace {

TEST(ExitCode, TheClassOfTheErrorDecides) {
  EXPECT_EQ(exit_code_of(std::logic_error("broken invariant")), ExitCode::kBug);
  EXPECT_EQ(exit_code_of(std::invalid_argument("wrong")), ExitCode::kUser);
  EXPECT_EQ(exit_code_of(ConfigError({})), ExitCode::kUser);
  EXPECT_EQ(exit_code_of(scheduler::InfeasiblePlan("does not fit")), ExitCode::kUser);
  EXPECT_EQ(exit_code_of(checkpoint::RunFolderBusy("held")), ExitCode::kUser);
  EXPECT_EQ(exit_code_of(comm::LaunchError("alone")), ExitCode::kEnvironment);
  EXPECT_EQ(exit_code_of(std::filesystem::filesystem_error("full", std::error_code())), ExitCode::kEnvironment);
  EXPECT_EQ(exit_code_of(std::bad_alloc()), ExitCode::kEnvironment);
  EXPECT_EQ(exit_code_of(data::DataError("damaged")), ExitCode::kData);
  EXPECT_EQ(exit_code_of(checkpoint::LoadError("none")), ExitCode::kCheckpoint);
  EXPECT_EQ(exit_code_of(checkpoint::NothingToResume("none")), ExitCode::kCheckpoint);
  EXPECT_EQ(exit_code_of(checkpoint::SaveError("full")), ExitCode::kCheckpoint);
  EXPECT_EQ(exit_code_of(comm::CommError("peer gone")), ExitCode::kPeer);
}

}  // namespace
}  // namespace ballast::launch
