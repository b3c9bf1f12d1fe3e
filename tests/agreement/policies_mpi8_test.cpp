// Eight processes under every policy train exactly as one thread does.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "tests/agreement/training_trace.h"
#include "tests/support/mpi_test_main.h"

namespace ballast {
namespace {

class PoliciesAgreeOverMpi : public ::testing::TestWithParam<std::string> {};

TEST_P(PoliciesAgreeOverMpi, EightRanksEqualOne) {
  at::set_num_threads(1);
  comm::Communicator& world = support::mpi_world();
  ASSERT_EQ(world.size(), 8);
  agreement::TraceOptions options{
      .num_steps = 3, .tokens_per_micro_batch = 160, .ranks_per_node = 4, .num_attention_heads = 8, .num_key_value_heads = 8};
  const agreement::Trace many = agreement::train(world, 2, agreement::under_policy(options, GetParam()));
  if (world.rank() == 0) agreement::expect_equal(agreement::train_on_local_ranks(1, 1, options), many, 1e-10);
}

INSTANTIATE_TEST_SUITE_P(Mpi, PoliciesAgreeOverMpi, ::testing::ValuesIn(agreement::policy_names()),
                         [](const ::testing::TestParamInfo<std::string>& name) { return name.param; });

}  // namespace
}  // namespace ballast
