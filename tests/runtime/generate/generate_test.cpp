#include "runtime/generate/generate.h"

#include <ATen/ops/log.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <map>

#include "runtime/comm/local_communicator.h"
#include "tests/support/run_ranks.h"

namespace ballast::generate {
namespace {

TEST(SampleToken, TakesTheMostLikelyWithoutTemperature) {
  const at::Tensor logits = at::tensor({1.0f, 3.0f, 3.0f, 2.0f});
  EXPECT_EQ(sample_token(logits, {.temperature = 0}, 0.99), 1) << "the lower of two equal ones";
}

TEST(SampleToken, FollowsTheDistribution) {
  const at::Tensor logits = at::tensor({0.5, 0.3, 0.2}).log();
  const SamplingOptions options = {.temperature = 1, .top_k = 0};
  EXPECT_EQ(sample_token(logits, options, 0.0), 0);
  EXPECT_EQ(sample_token(logits, options, 0.49), 0);
  EXPECT_EQ(sample_token(logits, options, 0.51), 1);
  EXPECT_EQ(sample_token(logits, options, 0.79), 1);
  EXPECT_EQ(sample_token(logits, options, 0.81), 2);
  EXPECT_EQ(sample_token(logits, {.temperature = 1, .top_k = 2}, 0.99), 1) << "the third is out";
}

TEST(SampleToken, NeverTakesPaddingTokens) {
  const at::Tensor logits = at::tensor({1.0, 2.0, 3.0, 9.0});
  EXPECT_EQ(sample_token(logits, {.temperature = 0, .eos = 2, .num_samplable = 2}, 0.5), 2);
  EXPECT_EQ(sample_token(logits, {.temperature = 0, .eos = 3, .num_samplable = 2}, 0.5), 3);
}

model::ModelConfig small_config() {
  model::ModelConfig config;
  config.vocab_size = 20;
  config.hidden_size = 16;
  config.num_layers = 2;
  config.num_attention_heads = 2;
  config.num_key_value_heads = 2;
  config.head_dim = 8;
  config.intermediate_size = 16;
  config.num_dense_layers = 1;
  config.num_experts = 4;
  config.experts_per_token = 2;
  config.num_shared_experts = 1;
  config.expert_intermediate_size = 8;
  config.initializer_range = 0.3;
  config.dtype = at::kDouble;
  return config;
}

TEST(Generate, IsTheSameOnAnyNumberOfRanks) {
  const SamplingOptions options = {.max_new_tokens = 12, .seed = 3, .context_tokens = 6};
  std::map<int, std::vector<std::int32_t>> texts;
  for (const int ranks : {1, 2, 4}) {
    support::run_ranks(ranks, [&](comm::Communicator& world) {
      const comm::Mesh mesh(world, ranks);
      metrics::PhaseClock clock;
      model::Transformer transformer(small_config(), mesh, 1, clock);
      const std::vector<std::int32_t> text = generate(transformer, mesh, {4, 7, 1}, options);
      if (world.rank() == ranks - 1) texts[ranks] = text;
    });
  }
  EXPECT_EQ(texts[1].size(), 12U);
  EXPECT_EQ(texts[1], texts[2]);
  EXPECT_EQ(texts[1], texts[4]);
}

TEST(Generate, StopsAtTheEndMark) {
  const std::unique_ptr<comm::Communicator> world = std::move(comm::make_local_world(1).front());
  const comm::Mesh mesh(*world, 1);
  metrics::PhaseClock clock;
  model::Transformer transformer(small_config(), mesh, 1, clock);
  const SamplingOptions greedy = {.max_new_tokens = 30, .temperature = 0, .context_tokens = 16};
  const std::vector<std::int32_t> free = generate(transformer, mesh, {4}, greedy);
  SamplingOptions stopped = greedy;
  stopped.eos = free.at(3);
  const std::vector<std::int32_t> text = generate(transformer, mesh, {4}, stopped);
  ASSERT_LE(text.size(), 3U);
  EXPECT_TRUE(std::equal(text.begin(), text.end(), free.begin()));
}

}  // namespace
}  // namespace ballast::generate
