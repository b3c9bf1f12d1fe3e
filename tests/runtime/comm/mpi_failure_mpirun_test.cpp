// What a job of processes says and how it ends when a rank stops, dies or calls something else.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <map>
#include <thread>

#include "runtime/comm/world.h"
#include "tests/support/child_process.h"

namespace ballast::comm {
namespace {

// ---- The program of a rank: this executable, with the scene as argument.

constexpr int kLostPeer = 7;
constexpr int kLaunchError = 3;

void stop_if(bool is_the_one) {
  if (is_the_one) raise(SIGSTOP);
}

void sum_8000_bytes(Communicator& comm) {
  std::vector<double> values(1000, 1.0);
  comm.all_reduce(buffer(values), ReduceOp::kSum).wait();
}

const std::map<std::string, void (*)(World&)>& scenes() {
  static const std::map<std::string, void (*)(World&)> table{
      {"stopped_in_all_reduce",
       [](World& world) {
         stop_if(world.communicator().rank() == 3);
         sum_8000_bytes(world.communicator());
       }},
      {"stopped_in_exchange",
       [](World& world) {
         Communicator& comm = world.communicator();
         stop_if(comm.rank() == 3);
         std::vector<std::uint8_t> values(5);
         if (comm.rank() == 1) comm.exchange({}, std::vector<Receive>{{3, buffer(values)}}).wait();
         std::this_thread::sleep_for(std::chrono::minutes(5));
       }},
      {"stopped_in_split",
       [](World& world) {
         stop_if(world.communicator().rank() == 3);
         world.communicator().split(0, 0);
       }},
      {"stopped_in_part",
       [](World& world) {
         Communicator& comm = world.communicator();
         const auto part = comm.split(comm.rank() % 2, 0);
         stop_if(comm.rank() == 3);
         if (comm.rank() == 1) part->barrier();
         std::this_thread::sleep_for(std::chrono::minutes(5));
       }},
      {"stopped_before_finish",
       [](World& world) {
         stop_if(world.communicator().rank() == 3);
         world.finish();
       }},
      {"called_after_deadline",
       [](World& world) {
         stop_if(world.communicator().rank() == 3);
         try {
           world.communicator().barrier();
         } catch (const CommError&) {
         }
         world.communicator().barrier();
       }},
      {"stopped_for_a_while",
       [](World& world) {
         Communicator& comm = world.communicator();
         comm.set_deadline(std::chrono::minutes(1));
         const std::vector<std::int64_t> own{getpid()};
         std::vector<std::int64_t> pids(4);
         comm.all_gather(buffer(own), buffer(pids), std::vector<std::int64_t>(4, 1)).wait();
         stop_if(comm.rank() == 3);
         if (comm.rank() == 0) {
           std::this_thread::sleep_for(std::chrono::seconds(1));
           kill(static_cast<pid_t>(pids[3]), SIGCONT);
         }
         sum_8000_bytes(comm);
         world.finish();
       }},
      {"killed",
       [](World& world) {
         if (world.communicator().rank() == 2) raise(SIGKILL);
         world.communicator().set_deadline(std::chrono::minutes(5));
         sum_8000_bytes(world.communicator());
       }},
      {"other_size",
       [](World& world) {
         Communicator& comm = world.communicator();
         std::vector<float> values(comm.rank() == 1 ? 10 : 30);
         comm.broadcast(buffer(values), 0).wait();
         comm.barrier();
       }},
      {"smaller_size",
       [](World& world) {
         Communicator& comm = world.communicator();
         std::vector<float> values(comm.rank() == 1 ? 30 : 10);
         comm.broadcast(buffer(values), 0).wait();
         comm.barrier();
       }},
  };
  return table;
}

int play(const std::string& scene) {
  try {
    const std::unique_ptr<World> world = open_world("mpi");
    world->communicator().barrier();
    // Long enough for a rank that only waits for a core; what is asserted does not depend on it.
    world->communicator().set_deadline(std::chrono::seconds(2));
    scenes().at(scene)(*world);
    return 0;
  } catch (const LaunchError& error) {
    std::fputs(fmt::format("{}\n", error.what()).c_str(), stderr);
    return kLaunchError;
  } catch (const std::exception& error) {
    std::fputs(fmt::format("{}\n", error.what()).c_str(), stderr);
    abort_job(kLostPeer);
  }
}

// ---- The tests.

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;

using Outcome = support::JobOutcome;

std::string this_program() { return std::string(BALLAST_BINARY_DIR) + "/tests/test.runtime.comm.mpi_failure_mpirun"; }

Outcome run_scene(const std::string& scene) {
  return support::run_job(4, {this_program(), "--scene", scene}, std::chrono::seconds(120));
}

TEST(MpiFailure, StoppedRankIsNamedInACollectiveAndNothingIsLeft) {
  const Outcome outcome = run_scene("stopped_in_all_reduce");
  EXPECT_THAT(outcome.output, ContainsRegex("all_reduce sum of 8000 bytes .1000 float64. on rank [012] of 4: no answer from "
                                            "ranks? ([012], )*3 within 2 s.*raise parallel.deadline_seconds"));
  EXPECT_EQ(outcome.exit_code, kLostPeer);
  EXPECT_TRUE(outcome.is_gone);
}

TEST(MpiFailure, StoppedPeerIsNamedInAnExchange) {
  const Outcome outcome = run_scene("stopped_in_exchange");
  EXPECT_THAT(outcome.output,
              HasSubstr("exchange of 0 bytes sent and 5 received on rank 1 of 4: no answer from rank 3 within 2 s"));
  EXPECT_EQ(outcome.exit_code, kLostPeer);
  EXPECT_TRUE(outcome.is_gone);
}

TEST(MpiFailure, SplitHasADeadline) {
  const Outcome outcome = run_scene("stopped_in_split");
  EXPECT_THAT(outcome.output, ContainsRegex("on rank [012] of 4: no answer from ranks? ([012], )*3 within 2 s"));
  EXPECT_EQ(outcome.exit_code, kLostPeer);
}

TEST(MpiFailure, RanksOfAPartAreNamedInTheWorldToo) {
  const Outcome outcome = run_scene("stopped_in_part");
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("barrier on rank 0 of 2: no answer from rank 1 within 2 s"),
                                    HasSubstr("(in the world: rank 1, waiting for 3)")));
  EXPECT_EQ(outcome.exit_code, kLostPeer);
}

TEST(MpiFailure, FinishHasADeadline) {
  const Outcome outcome = run_scene("stopped_before_finish");
  EXPECT_THAT(outcome.output, ContainsRegex("barrier on rank [012] of 4: no answer from ranks? ([012], )*3 within 2 s"));
  EXPECT_EQ(outcome.exit_code, kLostPeer);
}

TEST(MpiFailure, AfterADeadlineEveryCallIsRefused) {
  const Outcome outcome = run_scene("called_after_deadline");
  EXPECT_THAT(outcome.output, ContainsRegex("communication has ended in this process: barrier on rank [012] of 4: no answer"));
  EXPECT_EQ(outcome.exit_code, kLostPeer);
}

TEST(MpiFailure, RankThatGoesOnInTimeIsNoFailure) {
  const Outcome outcome = run_scene("stopped_for_a_while");
  EXPECT_EQ(outcome.output, "");
  EXPECT_EQ(outcome.exit_code, 0);
}

TEST(MpiFailure, KilledRankEndsTheJob) {
  const Outcome outcome = run_scene("killed");
  EXPECT_EQ(outcome.exit_code, 128 + SIGKILL) << outcome.output;
  EXPECT_TRUE(outcome.is_gone);
}

TEST(MpiFailure, DifferentSizesAreReported) {
  EXPECT_THAT(run_scene("other_size").output, AllOf(HasSubstr("broadcast of 40 bytes (10 float32) from rank 0 on rank 1 of 4: "
                                                              "a message of 40 bytes from rank 0"),
                                                    HasSubstr("MPI_ERR_TRUNCATE")));
  EXPECT_THAT(run_scene("smaller_size").output,
              HasSubstr("broadcast of 120 bytes (30 float32) from rank 0 on rank 1 of 4: rank 0 sent 40 bytes where 120 were "
                        "expected; both sides must call with equal sizes"));
}

TEST(MpiFailure, ProgramStartedWithoutLauncherInsideAJobIsRefused) {
  support::ChildProcess alone({this_program(), "--scene", "killed"}, {{"SLURM_NTASKS", "2"}});
  EXPECT_EQ(alone.wait(std::chrono::seconds(60)), kLaunchError);
  EXPECT_THAT(alone.output(), AllOf(HasSubstr("SLURM_NTASKS=2, but this process is alone in its world (backend mpi)"),
                                    HasSubstr("`srun --mpi=pmix -n 2 ballast ...`")));
}

}  // namespace
}  // namespace ballast::comm

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "--scene") return ballast::comm::play(argv[2]);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
