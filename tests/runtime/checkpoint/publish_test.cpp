#include "runtime/checkpoint/publish.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <mutex>
#include <set>

#include "runtime/checkpoint/durable_file.h"
#include "runtime/checkpoint/fault_hook.h"
#include "runtime/checkpoint/verify.h"
#include "tests/runtime/checkpoint/training_state.h"
#include "tests/support/run_ranks.h"

namespace ballast::checkpoint {
namespace {

namespace fs = std::filesystem;
using support::run_ranks;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

/// One save by `ranks` ranks. Returns: "" or what every rank threw, which must be the same text everywhere.
std::string save_step(const fs::path& folder, std::int64_t step, int ranks = 2, int keep = 3) {
  const auto model = small_model();
  const auto layout = random_layout(model, ranks, 5);
  std::mutex mutex;
  std::set<std::string> errors;
  run_ranks(ranks, [&](comm::Communicator& world) {
    std::string error;
    try {
      const RankPieces own = share_of(world.rank(), model, layout);
      EXPECT_EQ(save(world, {folder, keep}, point_at(step), own.pieces).name, checkpoint_name(step));
    } catch (const SaveError& thrown) {
      error = thrown.what();
    }
    const std::lock_guard lock(mutex);
    errors.insert(error);
  });
  EXPECT_EQ(errors.size(), 1u) << "the ranks do not agree";
  return *errors.begin();
}

/// The newest checkpoint that loads, all of it compared; -1: none.
std::int64_t loadable_step(const fs::path& folder) {
  std::int64_t step = -1;
  run_ranks(1, [&](comm::Communicator& world) {
    const Found found = find_newest(world, folder);
    if (!found.checkpoint) return;
    step = found.checkpoint->manifest().point.step;
    expect_reads(world, *found.checkpoint, small_model(), random_layout(small_model(), 1, 1));
  });
  return step;
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  return names;
}

TEST(Publish, LeavesTheCheckpointTheHintAndNothingElse) {
  const ScratchFolder scratch;
  const auto folder = scratch.path() / "deep" / "checkpoints";
  EXPECT_EQ(save_step(folder, 1200, 3), "");
  EXPECT_THAT(names_in(folder), UnorderedElementsAre("step-00001200", "latest"));
  EXPECT_THAT(names_in(folder / "step-00001200"),
              UnorderedElementsAre("manifest.pb", "rank-00000.safetensors", "rank-00001.safetensors", "rank-00002.safetensors"));
  const std::string manifest = read_file(folder / "step-00001200" / "manifest.pb");
  EXPECT_EQ(read_file(folder / "latest"), "step-00001200 " + to_text(content_hash(std::as_bytes(std::span(manifest)))) + "\n");
  EXPECT_EQ(loadable_step(folder), 1200);
}

TEST(Publish, SameStateGivesSameBytes) {
  const ScratchFolder scratch;
  save_step(scratch.path() / "a", 5, 3);
  save_step(scratch.path() / "b", 5, 3);
  for (const std::string& file : names_in(scratch.path() / "a" / "step-00000005"))
    EXPECT_EQ(read_file(scratch.path() / "a" / "step-00000005" / file), read_file(scratch.path() / "b" / "step-00000005" / file))
        << file;
}

TEST(Publish, KeepsTheNewest) {
  const ScratchFolder scratch;
  for (const std::int64_t step : {10, 20, 30, 40, 50}) EXPECT_EQ(save_step(scratch.path(), step, 1, 3), "");
  EXPECT_THAT(names_in(scratch.path()), UnorderedElementsAre("step-00000030", "step-00000040", "step-00000050", "latest"));
  // A run that went back to step 30 does not lose what it just saved to the newer ones.
  EXPECT_EQ(save_step(scratch.path(), 35, 1, 2), "");
  EXPECT_THAT(names_in(scratch.path()), Contains("step-00000035"));
  EXPECT_THAT(names_in(scratch.path()), Contains("step-00000050"));
}

TEST(Publish, ReplicasAreWrittenOnceAndCompared) {
  const ScratchFolder scratch;
  const GlobalTensor bias = {"bias", TensorKind::kRouter, comm::Dtype::kFloat64, {6}, 1};
  run_ranks(3, [&](comm::Communicator& world) {
    RankPieces own;
    own.add(bias, 0, 6, true);
    save(world, {scratch.path()}, point_at(1), own.pieces);
  });
  EXPECT_THAT(names_in(scratch.path() / "step-00000001"), UnorderedElementsAre("manifest.pb", "rank-00000.safetensors"));

  run_ranks(3, [&](comm::Communicator& world) {
    RankPieces own;
    own.add(bias, 0, 6, true);
    if (world.rank() == 2) own.memory.back()[17] ^= 1;
    try {
      save(world, {scratch.path()}, point_at(2), own.pieces);
      ADD_FAILURE() << "replicas that differ were saved";
    } catch (const InventoryError& error) {
      EXPECT_THAT(error.what(), HasSubstr("tensor 'bias': the replicas of elements [0, 6) differ: rank 0 has the hash"));
      EXPECT_THAT(error.what(), HasSubstr("rank 2 has"));
    }
  });
  EXPECT_THAT(names_in(scratch.path()), UnorderedElementsAre("step-00000001", "latest"));
}

TEST(Publish, NothingIsPublishedWhenARankWithholdsItsPart) {
  const ScratchFolder scratch;
  const auto model = small_model();
  const GlobalTensor experts = model[1];
  ASSERT_EQ(save_step(scratch.path(), 1), "");
  run_ranks(3, [&](comm::Communicator& world) {
    RankPieces own;
    if (world.rank() != 1) own.add(experts, world.rank() * 35, (world.rank() + 1) * 35);
    try {
      save(world, {scratch.path()}, point_at(2), own.pieces);
      ADD_FAILURE() << "a part of the experts was dropped in silence";
    } catch (const InventoryError& error) {
      EXPECT_EQ(std::string(error.what()), "tensor 'layers.0.experts.gate_up': elements [35, 70) of 105 are given by no rank");
    }
  });
  EXPECT_THAT(names_in(scratch.path()), UnorderedElementsAre("step-00000001", "latest"));
  EXPECT_EQ(loadable_step(scratch.path()), 1);
}

/// What save() says about a wrong request, from all ranks.
template <class Change>
void expect_refused(Change change, const std::string& text) {
  const ScratchFolder scratch;
  run_ranks(2, [&](comm::Communicator& world) {
    SaveOptions options{scratch.path()};
    TrainingPoint point = point_at(3);
    const auto model = small_model();
    RankPieces own = share_of(world.rank(), model, random_layout(model, 2, 5));
    change(world.rank(), options, point, own.pieces);
    try {
      save(world, options, point, own.pieces);
      ADD_FAILURE() << "accepted; wanted: " << text;
    } catch (const InventoryError& error) {
      EXPECT_THAT(error.what(), HasSubstr(text));
    }
  });
  EXPECT_THAT(names_in(scratch.path()), IsEmpty());
}

TEST(Publish, WrongRequestsAreRefusedOnAllRanks) {
  using Pieces = std::vector<Piece>;
  expect_refused([](int, auto& options, auto&, Pieces&) { options.keep = 1; }, "keep is 1; at least 2 wanted");
  expect_refused([](int, auto&, auto& point, Pieces&) { point.run_id = "../x"; },
                 "run id '../x'; letters, digits, - and _ wanted");
  expect_refused([](int, auto&, auto& point, Pieces&) { point.run_id = ""; }, "run id ''");
  expect_refused([](int, auto&, auto& point, Pieces&) { point.step = -1; }, "step -1");
  expect_refused([](int rank, auto&, auto& point, Pieces&) { point.step += rank; }, "rank 0 is at step 3, rank 1 at step 4");
  expect_refused(
      [](int rank, auto&, auto&, Pieces& pieces) {
        if (rank == 1) pieces[2].data.device = comm::Device::kCuda;
      },
      "rank 1: piece of tensor 'embedding.m': the buffer lies on a device; copy it to the host first");
  expect_refused(
      [](int rank, auto&, auto&, Pieces& pieces) {
        if (rank == 1) pieces[0].begin = INT64_MAX;
      },
      "rank 1: piece of tensor 'embedding': begins at element 9223372036854775807");
  expect_refused(
      [](int rank, auto&, auto&, Pieces& pieces) {
        if (rank == 1) pieces[0].data.data = nullptr;
      },
      "rank 1: piece of tensor 'embedding': a buffer of");
}

TEST(Publish, AStepIsPublishedOnce) {
  const ScratchFolder scratch;
  ASSERT_EQ(save_step(scratch.path(), 4), "");
  const std::string before = read_file(scratch.path() / "step-00000004" / "manifest.pb");
  EXPECT_THAT(save_step(scratch.path(), 4, 1), HasSubstr("step-00000004 is already published"));
  EXPECT_EQ(read_file(scratch.path() / "step-00000004" / "manifest.pb"), before);
}

// A real failure of the kernel: no file may grow beyond 400 bytes.
TEST(Publish, AFileThatCannotGrowHarmsNothing) {
  const ScratchFolder scratch;
  ASSERT_EQ(save_step(scratch.path(), 1), "");
  rlimit former;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &former), 0);
  std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {400, former.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string error = save_step(scratch.path(), 2);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &former), 0);
  EXPECT_THAT(error, HasSubstr("step-00000002: rank 0: "));
  EXPECT_THAT(error, HasSubstr("rank-00000.safetensors: write: File too large (EFBIG)"));
  EXPECT_THAT(names_in(scratch.path()), UnorderedElementsAre("step-00000001", "latest"));
  EXPECT_EQ(loadable_step(scratch.path()), 1);
  EXPECT_EQ(save_step(scratch.path(), 2), "");
}

/// A folder with steps 1 and 2 in it.
void make_two(const fs::path& folder) {
  ASSERT_EQ(save_step(folder, 1), "");
  ASSERT_EQ(save_step(folder, 2), "");
}

// Disk full and I/O error at every system call of a save: either the checkpoint is there or the former ones are, every rank says
// the same, and the next save works.
TEST(Publish, AnErrorAtAnySystemCallHarmsNothing) {
  const ScratchFolder origin;
  make_two(origin.path());
  for (const std::string fault : {"ENOSPC", "EIO"}) {
    for (int call = 1;; ++call) {
      const ScratchFolder scratch;
      fs::copy(origin.path(), scratch.path(), fs::copy_options::recursive);
      set_fault(fault + ":" + std::to_string(call));
      const std::string error = save_step(scratch.path(), 3, 2, 2);
      const bool is_over = is_fault_pending();
      set_fault("");
      if (is_over) {
        EXPECT_EQ(error, "");
        EXPECT_GT(call, 25) << "the save makes more system calls than that";
        break;
      }
      if (!error.empty()) {
        EXPECT_THAT(error, HasSubstr(fault)) << call;
      }
      const std::int64_t step = loadable_step(scratch.path());
      EXPECT_TRUE(step == 3 || (step == 2 && !error.empty())) << "call " << call << ": step " << step << ", " << error;
      EXPECT_FALSE(fs::exists(scratch.path() / "quarantine"));
      EXPECT_EQ(save_step(scratch.path(), 4, 2, 2), "") << call;
      EXPECT_EQ(loadable_step(scratch.path()), 4);
      for (const std::string& name : names_in(scratch.path())) EXPECT_TRUE(name == "latest" || checkpoint_step(name) > 0) << name;
    }
  }
}

// SIGKILL before every system call of a save.
TEST(Publish, DeathAtAnySystemCallLeavesAValidCheckpoint) {
  const ScratchFolder origin;
  make_two(origin.path());
  for (int call = 1;; ++call) {
    const ScratchFolder scratch;
    fs::copy(origin.path(), scratch.path(), fs::copy_options::recursive);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      set_fault("kill:" + std::to_string(call));
      _exit(save_step(scratch.path(), 3, 2, 2).empty() ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    if (WIFEXITED(status)) {
      EXPECT_EQ(WEXITSTATUS(status), 0);
      EXPECT_GT(call, 25) << "the save makes more system calls than that";
      break;
    }
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    const std::int64_t step = loadable_step(scratch.path());
    EXPECT_TRUE(step == 2 || step == 3) << "killed before call " << call;
    EXPECT_FALSE(fs::exists(scratch.path() / "quarantine")) << "killed before call " << call;
    EXPECT_EQ(save_step(scratch.path(), 4, 2, 2), "") << "killed before call " << call;
    for (const std::string& name : names_in(scratch.path())) EXPECT_TRUE(name == "latest" || checkpoint_step(name) > 0) << name;
  }
}

}  // namespace
}  // namespace ballast::checkpoint
