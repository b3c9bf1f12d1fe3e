// A plan that cannot be executed, or that is not everybody's, is refused by name before anything of the step is sent.
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/comm/recording_communicator.h"
#include "tests/agreement/training_trace.h"
#include "tests/support/run_ranks.h"

namespace ballast {
namespace {

using scheduler::AttentionTask;
using scheduler::Chunk;
using scheduler::Plan;
using scheduler::Ring;
using scheduler::TaskSet;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kNumRanks = 4;

struct Refusal {
  std::string text;
  std::vector<std::string> operations;  ///< of this rank, from the moment when it has its plan
};

/// What each rank says to its plan.
std::vector<Refusal> refusals(const std::string& policy, const std::function<void(Plan&, int)>& damage) {
  std::vector<Refusal> result(kNumRanks);
  support::run_ranks(kNumRanks, [&](comm::Communicator& world) {
    at::set_num_threads(1);
    comm::RecordingCommunicator recorded(world);
    agreement::TraceOptions options = agreement::under_policy({.num_steps = 1, .ranks_per_node = 2}, policy);
    options.damage = [&](Plan& plan, int rank) {
      damage(plan, rank);
      recorded.clear();
    };
    Refusal& refusal = result[static_cast<std::size_t>(world.rank())];
    try {
      agreement::train(recorded, 1, options);
    } catch (const comm::CommError&) {
      throw;
    } catch (const std::exception& error) {
      refusal.text = error.what();
    }
    for (const comm::Record& record : recorded.records()) refusal.operations.push_back(record.operation);
    world.barrier();
  });
  return result;
}

template <class Work>
Work& first(Plan& plan) {
  for (scheduler::AttentionWork& work : plan.micro_batches.front().work) {
    if (auto* const found = std::get_if<Work>(&work)) return *found;
  }
  throw std::logic_error("the plan has no work of this kind");
}

/// Damages every rank's plan alike; each must refuse it with all of `texts`, and say nothing to the others.
void expect_refused(const std::string& policy, const std::function<void(Plan&)>& damage, const std::vector<std::string>& texts) {
  for (const Refusal& refusal : refusals(policy, [&](Plan&plan, int) { damage(plan); })) {
    for (const std::string& text : texts) EXPECT_THAT(refusal.text, HasSubstr(text));
    EXPECT_THAT(refusal.operations, testing::IsEmpty());
  }
}

TEST(BadPlans, ChunkThatNobodyComputes) {
  expect_refused("distca",
                 [](Plan& plan) {
                   for (AttentionTask& task : first<TaskSet>(plan).tasks) {
                     std::erase_if(task.queries, [](const Chunk& chunk) { return chunk.sequence == 0 && chunk.begin == 0; });
                   }
                 },
                 {"plan of step 0: micro-batch 0: queries [0, ", ") of sequence 0 are not computed for head 0"});
}

TEST(BadPlans, ChunkThatTwoRanksCompute) {
  expect_refused("distca",
                 [](Plan& plan) {
                   AttentionTask again{0, 0, {{0, 1, 3}}};
                   for (const AttentionTask& task : first<TaskSet>(plan).tasks) {
                     if (task.sequence == 0 && task.queries.front().begin == 0) again.rank = (task.rank + 1) % kNumRanks;
                   }
                   first<TaskSet>(plan).tasks.push_back(again);
                 },
                 {"queries [1, 3) of sequence 0 are computed twice, on ranks ", " and on ranks "});
}

TEST(BadPlans, MemberThatARingLacks) {
  expect_refused("te_cp",
                 [](Plan& plan) {
                   first<Ring>(plan).ranks.pop_back();
                   first<Ring>(plan).shares.pop_back();
                 },
                 {"micro-batch 0: the shares of sequence 0 on ranks 0, 1, 2 sum to 38, but it has 50 tokens"});
}

TEST(BadPlans, MemberThatIsNoRank) {
  expect_refused("te_cp", [](Plan& plan) { first<Ring>(plan).ranks[1] = 7; },
                 {"work of sequence 0 is on rank 7, but there are ranks 0 to 3"});
}

TEST(BadPlans, TokensWithoutAHome) {
  expect_refused("te_cp", [](Plan& plan) { plan.micro_batches[0].homes[2].clear(); }, {"of sequence 0 has no home"});
}

TEST(BadPlans, OneRankHoldsAnotherPlan) {
  // Valid in itself: members 1 and 2 of the ring would send a row more and a row less than the others expect.
  const std::vector<Refusal> all = refusals("te_cp", [](Plan& plan, int rank) {
    if (rank == 2) ++first<Ring>(plan).shares[1], --first<Ring>(plan).shares[2];
  });
  for (const Refusal& refusal : all) {
    EXPECT_EQ(
        refusal.text,
        "step 0: rank 2 made another plan than rank 0. Rank 2: it has \"micro-batch 0: ring of sequence 0 on ranks 0, 1, 2, "
        "3 with shares 13, 14, 11, 12\" where rank 0 has \"micro-batch 0: ring of sequence 0 on ranks 0, 1, 2, 3 with "
        "shares 13, 13, 12, 12\". All ranks need the same binary, config and data");
    EXPECT_THAT(refusal.operations, AllOf(Contains("all_reduce"), Not(Contains("send")), Not(Contains("receive"))));
  }
}

TEST(BadPlans, EveryRankWithAnotherPlanIsNamed) {
  for (const Refusal& refusal : refusals("ballast", [](Plan&plan, int rank) { plan.is_routed = rank == 1 || rank == 3; })) {
    EXPECT_THAT(refusal.text, AllOf(HasSubstr("step 0: ranks 1, 3 made another plan than rank 0. Rank 1: it has \"step 0 of "
                                              "policy ballast, routed\" where rank 0 has \"step 0 of policy ballast\"")));
  }
}

}  // namespace
}  // namespace ballast
