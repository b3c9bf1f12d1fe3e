#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "build_constants.h"
#include "tests/support/child_process.h"

namespace ballast::launch {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;

/// Output and exit code of `ballast doctor`.
struct Report {
  int exit_code;
  std::string text;
};

Report doctor(const std::vector<std::string>& arguments, const std::map<std::string, std::string>& variables = {}) {
  std::vector<std::string> command = {BALLAST_BINARY_DIR "/ballast", "doctor"};
  command.insert(command.end(), arguments.begin(), arguments.end());
  support::ChildProcess child(command, variables);
  const int exit_code = child.wait(seconds(60));
  return {exit_code, child.output()};
}

nlohmann::json row(const Report& report, const std::string& check) {
  for (const auto& candidate : nlohmann::json::parse(report.text)) {
    if (candidate.at("check") == check) return candidate;
  }
  throw std::runtime_error("no row " + check + " in " + report.text);
}

class Doctor : public testing::Test {
 protected:
  void SetUp() override {
    if (!build::kTorch) GTEST_SKIP() << "ballast-runtime is not built without LibTorch";
  }
};

TEST_F(Doctor, ReportsThisMachine) {
  const Report report = doctor({"/tmp"});
  EXPECT_EQ(report.exit_code, 0) << report.text;
  for (const char* check : {"build.ballast", "build.libtorch", "host.cores", "host.memory", "storage.publish"}) {
    EXPECT_THAT(report.text, HasSubstr(check));
  }
}

TEST_F(Doctor, JsonRowsHaveTheirFiveMembers) {
  const Report report = doctor({"--json", "/tmp"});
  EXPECT_EQ(report.exit_code, 0) << report.text;
  for (const auto& candidate : nlohmann::json::parse(report.text)) {
    for (const char* member : {"check", "status", "found", "wanted", "advice"})
      EXPECT_TRUE(candidate.contains(member)) << candidate;
    EXPECT_THAT(candidate.at("status").get<std::string>(), testing::AnyOf("OK", "WARN", "FAIL"));
  }
  EXPECT_THAT(row(report, "build.libtorch").at("found").get<std::string>(), testing::StartsWith(build::kTorchVersion));
}

TEST_F(Doctor, AFolderThatCannotHoldCheckpointsFails) {
  const Report report = doctor({"--json", "/proc"});
  EXPECT_EQ(report.exit_code, 3);
  EXPECT_EQ(row(report, "storage.publish").at("status"), "FAIL");
}

TEST_F(Doctor, ATaskThatIsAloneInItsWorldIsExplained) {
  if (!build::kMpi) GTEST_SKIP() << "built without MPI";
  const Report report = doctor({"--json", "/tmp"}, {{"SLURM_NTASKS", "4"}});
  EXPECT_EQ(report.exit_code, 3);
  EXPECT_EQ(row(report, "mpi.launcher").at("status"), "FAIL");
  EXPECT_THAT(row(report, "mpi.launcher").at("found").get<std::string>(), HasSubstr("SLURM_NTASKS=4"));
}

TEST_F(Doctor, MpirunIsNotNeededForOneRank) {
  if (!build::kMpi) GTEST_SKIP() << "built without MPI";
  const Report report = doctor({"--json", "/tmp"}, {{"PATH", "/nowhere"}});
  EXPECT_EQ(report.exit_code, 0) << report.text;
  EXPECT_EQ(row(report, "mpi.mpirun").at("status"), "WARN");
  EXPECT_EQ(row(report, "mpi.mpirun").at("found"), "no mpirun on PATH");
}

}  // namespace
}  // namespace ballast::launch
