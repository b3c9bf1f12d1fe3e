// Every policy's plan trains exactly as one rank does.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "tests/agreement/training_trace.h"

namespace ballast {
namespace {

struct Case {
  std::string policy;
  int ranks;
};

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const std::string& policy : agreement::policy_names()) {
    for (const int ranks : {2, 3, 4}) cases.push_back({policy, ranks});
  }
  return cases;
}

class PoliciesAgree : public ::testing::TestWithParam<Case> {};

TEST_P(PoliciesAgree, TrainingEqualsOneRank) {
  at::set_num_threads(1);
  const Case& c = GetParam();
  agreement::TraceOptions options{.num_steps = 5, .num_attention_heads = 12, .num_key_value_heads = 12};
  const agreement::Trace one = agreement::train_on_local_ranks(1, 1, options);
  options.ranks_per_node = 2;
  agreement::expect_equal(one, agreement::train_on_local_ranks(c.ranks, 1, agreement::under_policy(options, c.policy)), 1e-10);
}

INSTANTIATE_TEST_SUITE_P(Local, PoliciesAgree, ::testing::ValuesIn(all_cases()), [](const ::testing::TestParamInfo<Case>& c) {
  return c.param.policy + "_" + std::to_string(c.param.ranks) + "ranks";
});

}  // namespace
}  // namespace ballast
