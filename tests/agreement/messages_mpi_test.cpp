// The same over MPI: processes send exactly what their plans say.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "tests/agreement/recorded_messages.h"
#include "tests/support/mpi_test_main.h"

namespace ballast {
namespace {

TEST(MessagesAgreeOverMpi, RunSendsWhatThePlanSays) {
  at::set_num_threads(1);
  for (const std::string& policy : agreement::policy_names()) {
    for (const std::vector<int>& sources : {std::vector<int>{0, 1}, std::vector<int>{0, 0}}) {
      SCOPED_TRACE(testing::Message() << policy << ", layer 1 reads the keys of " << sources[1]);
      const agreement::TraceOptions options = agreement::under_policy(
          {.num_steps = 2, .ranks_per_node = 2, .num_attention_heads = 12, .num_key_value_heads = 12, .kv_source_layer = sources},
          policy);
      const agreement::RecordedRun run = agreement::train_recorded(support::mpi_world(), 1, options);
      EXPECT_EQ(run.difference, "");
      EXPECT_TRUE(run.posts_receives_first);
      if (options.is_capped) {
        EXPECT_GT(run.num_messages, 0);
      }
    }
  }
}

}  // namespace
}  // namespace ballast
