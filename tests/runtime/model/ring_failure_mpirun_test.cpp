// A process that is stopped in the middle of ring attention is named by those that wait for it.
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdio>

#include "attention_of_ones.h"
#include "runtime/comm/world.h"
#include "runtime/model/layer_pipeline.h"
#include "runtime/model/ring_attention.h"
#include "scheduler/plan/layout.h"
#include "tests/support/child_process.h"
#include "tests/support/hooked_communicator.h"

namespace ballast::model {
namespace {

constexpr int kLostPeer = 7;
constexpr int kNumRanks = 4;

/// The program of a rank: attention of one document on a ring of all ranks, again and again, during which rank 2 is stopped.
int attend() {
  try {
    at::set_num_threads(1);
    const std::unique_ptr<comm::World> world = comm::open_world("mpi");
    comm::Communicator& all = world->communicator();
    support::HookedCommunicator hooked(all, [&, num_sends = 0](int, std::span<const comm::Send> sends, auto) mutable {
      if (all.rank() == 2 && !sends.empty() && ++num_sends == 8) raise(SIGSTOP);  // each pass has three and a return or none
    });
    const std::unique_ptr<comm::Communicator> near = hooked.split(0, all.rank());
    // Long enough for a rank that only waits for a core; what is asserted does not depend on it.
    hooked.set_deadline(std::chrono::seconds(2));
    all.set_deadline(std::chrono::seconds(2));

    scheduler::MicroBatch batch;
    batch.sequences = {0};
    const std::vector<std::int64_t> shares = scheduler::equal_shares(61, kNumRanks);
    batch.work = {scheduler::Ring{0, {0, 1, 2, 3}, shares}};
    for (const auto& chunks : scheduler::zigzag_chunks(0, shares)) batch.homes.push_back({chunks[0], chunks[1]});
    batch.kv_source_layer = {0};
    const AttentionProgram program(batch, {2, 1}, {0, 0, 1, 1}, all.rank(), TaskOrder::kWorkConserving);
    const AttentionChannels channels{hooked, *near};
    for (;;) {
      HomeAttention attention = attention_of_ones(program);
      metrics::PhaseClock clock;
      LayerPipeline(program.blocks(), clock).run({AttentionStage{[&] {
        return attention_forward(program, channels, 1, attention, attention);
      }}});
    }
  } catch (const std::exception& error) {
    std::fputs((std::string(error.what()) + "\n").c_str(), stderr);
    comm::abort_job(kLostPeer);
  }
}

TEST(RingFailure, StoppedRankIsNamedWithinTheDeadline) {
  const support::JobOutcome job =
      support::run_job(kNumRanks, {std::string(BALLAST_BINARY_DIR) + "/tests/test.runtime.model.ring_failure_mpirun", "--attend"},
                       std::chrono::seconds(60));
  EXPECT_EQ(job.exit_code, kLostPeer);
  // Which rank notices first is chance: rank 3 gets its blocks from rank 2, the others by way of it.
  EXPECT_THAT(job.output, testing::ContainsRegex("on rank [013] of 4: no answer from rank [0-3] within 2 s"));
  EXPECT_THAT(job.output, testing::ContainsRegex("Attention waits for rotate [123] of sequence 0, heads .0, 2., on ranks 0, 1, "
                                                 "2, 3: tokens .* by way of ranks ([013], )*2"));
  EXPECT_TRUE(job.is_gone);
}

}  // namespace
}  // namespace ballast::model

int main(int argc, char** argv) {
  if (argc == 2 && std::string(argv[1]) == "--attend") return ballast::model::attend();
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
