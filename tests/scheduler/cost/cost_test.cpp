// Operations, parameters, memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/model/model.pb.h"
#include "scheduler/cost/flops.h"
#include "scheduler/cost/memory.h"
#include "scheduler/cost/model_shape_io.h"
#include "scheduler/cost/rank_load.h"
#include "scheduler/cost/seconds.h"
#include "scheduler/cost/token_seconds.h"
#include "scheduler/make_plan.h"

namespace ballast::scheduler {
namespace {

ModelShape llama_8b() {
  ModelShape model;
  model.vocab_size = 128256;
  model.hidden_size = 4096;
  model.num_layers = 32;
  model.num_attention_heads = 32;
  model.num_key_value_heads = 8;
  model.head_dim = 128;
  model.intermediate_size = 14336;
  model.num_dense_layers = 32;
  model.element_bytes = 2;
  return model;
}

TEST(Flops, LlamaEightBillionMatchesThePublishedFigures) {
  const std::int64_t lengths_4k[] = {4096};
  const std::int64_t lengths_8k[] = {8192};
  EXPECT_NEAR(training_flops(llama_8b(), lengths_4k) / 4096, 48.2e9, 0.1e9);
  EXPECT_NEAR(training_flops(llama_8b(), lengths_8k) / 8192, 51.5e9, 0.1e9);
  EXPECT_NEAR(static_cast<double>(num_parameters(llama_8b()).total()), 8.03e9, 0.01e9);
}

TEST(Flops, CountedOperationByOperation) {
  ModelShape model;
  model.vocab_size = 11;
  model.hidden_size = 6;
  model.num_layers = 3;
  model.num_attention_heads = 4;
  model.num_key_value_heads = 2;
  model.head_dim = 2;
  model.intermediate_size = 5;
  model.num_dense_layers = 1;
  model.num_experts = 4;
  model.experts_per_token = 2;
  model.num_shared_experts = 1;
  model.expert_intermediate_size = 3;
  double forward = 0;
  const std::int64_t lengths[] = {3, 1, 4};
  for (const std::int64_t length : lengths) {
    for (std::int64_t t = 0; t < length; ++t) {
      for (int layer = 0; layer < 3; ++layer) {
        forward += 2 * 6 * 8 + 2 * 2 * 6 * 4 + 2 * 8 * 6;         // query; key and value; output
        if (layer == 0) forward += 3 * 2 * 6 * 5;                 // gate, up, down
        if (layer > 0) forward += 2 * 6 * 4 + 3 * 3 * 2 * 6 * 3;  // router; one shared and two routed experts
      }
      forward += 2 * 6 * 11;
    }
    forward += 3 * 4.0 * 4 * 2 * static_cast<double>(length * length) / 2;  // scores and values, causal half
  }
  EXPECT_DOUBLE_EQ(training_flops(model, lengths), 3 * forward);
  EXPECT_DOUBLE_EQ(training_flops(model, lengths, 1.5), 3 * (forward - 8 * 2 * 0.5 * 3 * 2 * 6 * 3));
}

TEST(Memory, OptimizerIsShardedAndExpertsToo) {
  ModelShape model = llama_8b();
  model.num_dense_layers = 16;
  model.num_experts = 8;
  model.experts_per_token = 2;
  model.num_shared_experts = 1;
  model.expert_intermediate_size = 1024;
  const MemoryBytes one = memory_bytes(model, {1, 1}, 1000);
  const MemoryBytes eight = memory_bytes(model, {8, 8}, 1000);
  const NumParameters parameters = num_parameters(model);
  EXPECT_EQ(one.weights, 2 * parameters.total());
  EXPECT_EQ(one.optimizer, 12 * parameters.total());
  EXPECT_EQ(eight.weights, 2 * (parameters.dense + parameters.expert / 8));
  EXPECT_NEAR(static_cast<double>(eight.optimizer), static_cast<double>(one.optimizer) / 8, 100);
  EXPECT_EQ(one.activations, 1000 * activation_bytes_per_token(model));
  // Of query, key, value and output of attention, and of gate, up and down of a dense layer, the wider kind.
  EXPECT_EQ(output_gradient_bytes_per_token(model), 2 * (4096 + 2 * 1024 + 4096 + 2 * 14336 + 4096));
}

TEST(RankLoad, EveryPieceOfWorkIsCountedOnce) {
  Node node;
  node.num_ranks = 2;
  PlanRequest request;
  request.topology = uniform_topology(4, node);
  request.model = llama_8b();
  request.options.policy = "ballast";
  request.lengths = {200000, 30000, 9000, 700, 20, 1};
  const Plan plan = make_plan(request);
  const PlanLoad load = plan_load(plan, request.model, request.topology);
  const CostRates rates = cost_rates(request.model, request.topology);
  double expected = 0, got = 0, tokens = 0;
  for (const std::int64_t length : request.lengths) expected += rates.sequence_seconds(length);
  for (const RankLoad& rank : load.ranks) {
    got += rank.seconds();
    tokens += static_cast<double>(rank.tokens);
  }
  EXPECT_NEAR(got / expected, 1, 1e-9);
  EXPECT_EQ(tokens, 239721);
  EXPECT_NEAR(load.local_fraction + load.node_fraction + load.cluster_fraction, 1, 1e-12);
  EXPECT_GE(load.imbalance, 1);
}

TEST(TokenSeconds, PartsSumToTheWhole) {
  ModelShape model = llama_8b();
  for (const std::int64_t num_experts : {0, 16}) {
    model.num_experts = num_experts;
    model.experts_per_token = 2;
    model.num_shared_experts = 1;
    model.expert_intermediate_size = 24;
    model.num_dense_layers = num_experts == 0 ? model.num_layers : 1;
    Topology topology;
    const TokenSeconds seconds = token_seconds(model, topology);
    const double layers = static_cast<double>(model.num_layers), moe = static_cast<double>(model.num_moe_layers());
    const double forward = layers * (seconds.query + seconds.key_value + seconds.output) + moe * seconds.moe_feed_forward +
                           moe * seconds.router + (layers - moe) * seconds.dense_feed_forward + seconds.head;
    EXPECT_NEAR(3 * forward / cost_rates(model, topology).token_seconds, 1, 1e-12);
  }
}

TEST(ModelShape, FromMessage) {
  schema::Model message;
  message.set_hidden_size(32);
  message.set_num_layers(2);
  message.set_num_attention_heads(4);
  message.set_num_key_value_heads(3);
  message.set_head_dim(8);
  message.set_intermediate_size(64);
  try {
    model_shape_from(message);
    FAIL();
  } catch (const std::invalid_argument& error) {
    EXPECT_STREQ(error.what(), "model: 4 attention heads and 3 key/value heads; the second must divide the first");
  }
  message.set_num_key_value_heads(2);
  EXPECT_EQ(model_shape_from(message).num_moe_layers(), 0);
  message.set_num_experts(4);
  EXPECT_THROW(model_shape_from(message), std::invalid_argument);
  message.set_expert_intermediate_size(16);
  EXPECT_EQ(model_shape_from(message).num_moe_layers(), 1);
  EXPECT_EQ(model_shape_from(message).element_bytes, 4);
}

}  // namespace
}  // namespace ballast::scheduler
