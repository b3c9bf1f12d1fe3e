// A training run sends exactly what its plans say: every message's kind, peer, bytes and place in the order.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <mutex>

#include "tests/agreement/recorded_messages.h"
#include "tests/support/run_ranks.h"

namespace ballast {
namespace {

struct Total {
  std::int64_t num_messages = 0;
  int num_communicators = 0;  ///< of one rank
};

Total expect_messages_as_planned(int num_ranks, int ep, const agreement::TraceOptions& options) {
  Total total;
  std::mutex mutex;
  support::run_ranks(num_ranks, [&](comm::Communicator& world) {
    at::set_num_threads(1);
    const agreement::RecordedRun run = agreement::train_recorded(world, ep, options);
    const std::lock_guard lock(mutex);
    EXPECT_EQ(run.difference, "");
    EXPECT_TRUE(run.posts_receives_first);
    total.num_messages += run.num_messages;
    total.num_communicators = run.num_communicators;
  });
  return total;
}

const std::vector<std::vector<int>> kSources = {{0, 1, 2}, {0, 0, 2}, {0, 0, 0}};

class MessagesAgree : public ::testing::TestWithParam<std::string> {};

TEST_P(MessagesAgree, RunSendsWhatThePlanSays) {
  std::int64_t num_messages = 0;
  bool is_cut = false;
  for (const int num_ranks : {3, 4}) {
    for (const std::vector<int>& sources : kSources) {
      SCOPED_TRACE(testing::Message() << num_ranks << " ranks, layer 1 reads the keys of " << sources[1]);
      const agreement::TraceOptions options = agreement::under_policy(
          {.num_steps = 1, .ranks_per_node = 2, .num_attention_heads = 12, .num_key_value_heads = 12, .kv_source_layer = sources},
          GetParam());
      num_messages += expect_messages_as_planned(num_ranks, 1, options).num_messages;
      is_cut = options.is_capped;
    }
  }
  EXPECT_EQ(num_messages > 0, is_cut) << num_messages << " messages";
}

INSTANTIATE_TEST_SUITE_P(Local, MessagesAgree, ::testing::ValuesIn(agreement::policy_names()),
                         [](const ::testing::TestParamInfo<std::string>& name) { return name.param; });

TEST(RecordedMessages, ExpertsDoNotMixWithAttention) {
  const agreement::TraceOptions options = agreement::under_policy(
      {.num_steps = 2, .ranks_per_node = 2, .num_attention_heads = 4, .num_key_value_heads = 2}, "ballast");
  EXPECT_GT(expect_messages_as_planned(4, 4, options).num_messages, 0);
}

TEST(RecordedMessages, NumberOfCommunicatorsDoesNotDependOnThePlan) {
  const agreement::TraceOptions few = agreement::under_policy(
      {.num_steps = 1, .tokens_per_micro_batch = 1000, .num_attention_heads = 4, .num_key_value_heads = 4}, "ballast");
  agreement::TraceOptions many = agreement::under_policy(few, "te_cp");
  many.tokens_per_micro_batch = 60;
  many.num_steps = 4;
  many.kv_source_layer = {0, 1, 2, 3};
  const Total small = expect_messages_as_planned(4, 2, few);
  const Total large = expect_messages_as_planned(4, 2, many);
  EXPECT_GT(large.num_messages, 10 * small.num_messages);
  EXPECT_EQ(small.num_communicators, 3)
      << "the axes of the mesh: ranks that share experts, ranks that hold the same, and all once more for messages inside nodes";
  EXPECT_EQ(large.num_communicators, 3);
}

}  // namespace
}  // namespace ballast
