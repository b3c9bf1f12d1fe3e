#include "runtime/comm/world.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "build_constants.h"

namespace ballast::comm {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// What a process of this size, started with these variables, is told; empty when nothing is wrong.
std::string complaint(int world_size, const std::map<std::string, std::string>& variables) {
  try {
    check_launcher("mpi", world_size, [&](const char* name) -> const char* {
      const auto found = variables.find(name);
      return found == variables.end() ? nullptr : found->second.c_str();
    });
  } catch (const LaunchError& error) {
    return error.what();
  }
  return "";
}

TEST(Launcher, CopiesThatDoNotKnowEachOtherAreRefusedWithTheCommandThatWorks) {
  EXPECT_EQ(
      complaint(1, {{"SLURM_NTASKS", "2"}}),
      "SLURM_NTASKS=2, but this process is alone in its world (backend mpi): 2 separate copies would run, each as rank 0 of "
      "1. Start all ranks by one launcher, `srun --mpi=pmix -n 2 ballast ...`; for one rank on purpose, `mpirun -n 1 "
      "ballast ...`");
  EXPECT_THAT(complaint(1, {{"SLURM_STEP_NUM_TASKS", "8"}, {"SLURM_NTASKS", "16"}}), HasSubstr("SLURM_STEP_NUM_TASKS=8"));
  EXPECT_THAT(complaint(1, {{"OMPI_COMM_WORLD_SIZE", "4"}}), HasSubstr("`mpirun -n 4 ballast ...`"));
}

TEST(Launcher, WhatTheNearestLauncherSaysCounts) {
  EXPECT_EQ(complaint(1, {}), "");
  EXPECT_EQ(complaint(2, {{"SLURM_NTASKS", "2"}}), "");
  EXPECT_EQ(complaint(1, {{"SLURM_NTASKS", "1"}}), "");
  EXPECT_EQ(complaint(1, {{"OMPI_COMM_WORLD_SIZE", "1"}, {"SLURM_NTASKS", "4"}}), "") << "mpirun -n 1 inside an allocation";
  EXPECT_EQ(complaint(1, {{"SLURM_STEP_NUM_TASKS", "1"}, {"SLURM_NTASKS", "4"}}), "");
  EXPECT_EQ(complaint(1, {{"SLURM_NTASKS", "many"}}), "") << "not a number, not ours to judge";
}

TEST(Backends, UnknownNameIsAnsweredWithTheKnownOnes) {
  const char* const known = build::kMpi ? "mpi, local" : "local";
  EXPECT_THAT([] { open_world("carrier-pigeon"); },
              ThrowsMessage<std::invalid_argument>(
                  std::string("communicator backend 'carrier-pigeon' is unknown; this build has ") + known));
}

TEST(Backends, LocalIsThisProcessAlone) {
  const auto world = open_world("local");
  EXPECT_EQ(world->communicator().rank(), 0);
  EXPECT_EQ(world->communicator().size(), 1);
  std::vector<float> values{3.0F};
  world->communicator().all_reduce(buffer(values), ReduceOp::kSum).wait();
  world->communicator().barrier();
  EXPECT_EQ(values[0], 3.0F);
  world->finish();
}

}  // namespace
}  // namespace ballast::comm
