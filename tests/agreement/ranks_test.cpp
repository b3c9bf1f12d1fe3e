// N ranks train exactly as one rank does: losses, gradients' norms and the norm of every tensor, with experts sharded or not.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "tests/agreement/training_trace.h"
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

TEST(ManyRanks, TwoRunsHaveTheSameBits) {
  at::set_num_threads(1);
  // Messages come when they come, and gradients of weights run between them.
  for (const std::vector<int>& sources : {std::vector{0, 1, 2, 3}, std::vector{0, 0, 0, 3}}) {
    const agreement::TraceOptions options = agreement::under_policy({.dtype = at::kFloat,
                                                                     .num_steps = 4,
                                                                     .ranks_per_node = 2,
                                                                     .num_attention_heads = 4,
                                                                     .num_key_value_heads = 2,
                                                                     .kv_source_layer = sources},
                                                                    "ballast");
    const agreement::Trace first = agreement::train_on_local_ranks(4, 2, options);
    for (int again = 0; again < 3; ++again) agreement::expect_equal(first, agreement::train_on_local_ranks(4, 2, options), 0);
  }
}

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
