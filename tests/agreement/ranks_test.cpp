// N ranks train exactly as one rank does: losses, gradients' norms and the norm of every tensor, with experts sharded or not.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "runtime/model/attention_program.h"
#include "tests/agreement/training_trace.h"
#include "tests/support/hooked_communicator.h"
#include "tests/support/run_ranks.h"

namespace ballast {
namespace {

struct Case {
  int ranks, ep;
  std::int64_t experts;
  const char* router;
  at::ScalarType dtype;
};

std::string name_of(const ::testing::TestParamInfo<Case>& info) {
  const Case& c = info.param;
  return std::string(c.router) + (c.dtype == at::kDouble ? "_fp64_" : "_fp32_") + std::to_string(c.ranks) + "ranks_ep" +
         std::to_string(c.ep) + "_" + std::to_string(c.experts) + "experts";
}

class RanksAgree : public ::testing::TestWithParam<Case> {};

TEST_P(RanksAgree, TrainingEqualsOneRank) {
  at::set_num_threads(1);
  const Case& c = GetParam();
  agreement::TraceOptions options{.router = c.router, .num_experts = c.experts, .dtype = c.dtype};
  const agreement::Trace one = agreement::train_on_local_ranks(1, 1, options);
  const agreement::Trace many = agreement::train_on_local_ranks(c.ranks, c.ep, options);
  const double tolerance = c.dtype == at::kDouble ? 1e-10 : 1e-5;
  agreement::expect_equal(one, many, tolerance);
  if (std::string(c.router) == "bip_exact") {
    EXPECT_EQ(many.worst_load_above_minimum, 0);
  }
  EXPECT_LT(one.losses.back(), one.losses.front()) << "the run learns nothing: equality would prove little";
}

/// Ranks that have late rows and ready ones, over the micro-batches of a step.
int num_ranks_with_both_groups(const agreement::TraceOptions& options, int num_ranks) {
  int result = 0;
  const std::vector<int> node_of_rank = agreement::topology(options, num_ranks).node_of_rank;
  for (const scheduler::MicroBatch& batch : agreement::plan_of_step(options, num_ranks, 0).micro_batches) {
    for (int rank = 0; rank < num_ranks; ++rank) {
      const model::AttentionProgram program(batch, agreement::head_counts(options), node_of_rank, rank,
                                            model::TaskOrder::kWorkConserving);
      result += program.rows(scheduler::TokenGroup::kLate).num() > 0 && program.rows(scheduler::TokenGroup::kReady).num() > 0;
    }
  }
  return result;
}

class ManyRanks : public ::testing::TestWithParam<std::string> {};

TEST_P(ManyRanks, TwoRunsHaveTheSameBits) {
  at::set_num_threads(1);
  constexpr int kNumRanks = 4;
  int num_with_both_groups = 0;
  for (const std::vector<int>& sources : {std::vector{0, 1, 2, 3}, std::vector{0, 0, 0, 3}}) {
    const agreement::TraceOptions options = agreement::under_policy({.dtype = at::kFloat,
                                                                     .num_steps = 3,
                                                                     .ranks_per_node = 2,
                                                                     .num_attention_heads = 4,
                                                                     .num_key_value_heads = 2,
                                                                     .kv_source_layer = sources},
                                                                    GetParam());
    num_with_both_groups += num_ranks_with_both_groups(options, kNumRanks);
    const agreement::Trace first = agreement::train_on_local_ranks(kNumRanks, 2, options);
    for (unsigned again = 0; again < 3; ++again) {
      // Messages come early or late, as it happens.
      support::run_ranks(kNumRanks, [&](comm::Communicator& world) {
        std::mt19937 random(again * kNumRanks + static_cast<unsigned>(world.rank()));
        support::HookedCommunicator hooked(world, [&](auto...) {
          if (random() % 4 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 2000));
        });
        const agreement::Trace trace = agreement::train(hooked, 2, options);
        if (world.rank() == 0) agreement::expect_equal(first, trace, 0);
      });
    }
  }
  EXPECT_GT(num_with_both_groups, 0) << "nothing overlaps: equality would prove little";
}

INSTANTIATE_TEST_SUITE_P(Local, ManyRanks, ::testing::Values("ballast", "distca"),
                         [](const ::testing::TestParamInfo<std::string>& name) { return name.param; });

INSTANTIATE_TEST_SUITE_P(Local, RanksAgree,
                         ::testing::Values(Case{2, 1, 8, "bip_exact", at::kDouble}, Case{2, 2, 8, "bip_exact", at::kDouble},
                                           Case{3, 1, 8, "bip_exact", at::kDouble}, Case{3, 3, 6, "bip_exact", at::kDouble},
                                           Case{4, 1, 8, "bip_exact", at::kDouble}, Case{4, 2, 8, "bip_exact", at::kDouble},
                                           Case{4, 4, 8, "bip_exact", at::kDouble}, Case{2, 2, 8, "topk", at::kDouble},
                                           Case{3, 3, 6, "topk", at::kDouble}, Case{4, 4, 8, "topk", at::kDouble},
                                           Case{4, 1, 8, "topk", at::kDouble}, Case{2, 2, 8, "bip_exact", at::kFloat},
                                           Case{3, 3, 6, "bip_exact", at::kFloat}, Case{4, 2, 8, "topk", at::kFloat},
                                           Case{4, 4, 8, "bip_exact", at::kFloat}),
                         name_of);

}  // namespace
}  // namespace ballast
