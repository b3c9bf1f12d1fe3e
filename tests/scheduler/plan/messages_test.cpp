// The messages of a step: worked by hand, and equal to those of the simulator under every policy.
#include "scheduler/plan/messages.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "scheduler/make_plan.h"
#include "scheduler/policy/registry.h"
#include "scheduler/sim/simulator.h"

namespace ballast::scheduler {
namespace {

/// Four tokens on a ring of two, one head: rank 0 has tokens 0 and 3, rank 1 tokens 1 and 2.
Plan ring_of_two(std::vector<int> kv_source_layer) {
  Plan plan;
  plan.lengths = {4};
  MicroBatch micro_batch;
  micro_batch.sequences = {0};
  micro_batch.work = {Ring{0, {0, 1}, {2, 2}}};
  micro_batch.homes = {{{0, 0, 1}, {0, 3, 4}}, {{0, 1, 3}}};
  micro_batch.kv_source_layer = std::move(kv_source_layer);
  plan.micro_batches.push_back(std::move(micro_batch));
  plan.ranks.assign(2, training_program(1));
  return plan;
}

TEST(AttentionMessages, ARingOfTwoByHand) {
  const std::vector<ExchangeMessages> messages = attention_messages(ring_of_two({0, 0}), 0, {1, 1}, {0, 0}, {10, 100});
  // Two tokens are four rows: a key and a value each. Homes are where attention is, so that nothing is dispatched or returned.
  const auto rotate = [](Pass pass, int layer) {
    return ExchangeMessages{0, pass, layer, Stage::kRotate, 0, 1, {{1, 40}}, {{1, 40}}};
  };
  const auto gradients = [](int layer) {
    return ExchangeMessages{0, Pass::kBackward, layer, Stage::kRotateGradients, 0, 2, {{1, 400}}, {{1, 400}}};
  };
  EXPECT_THAT(messages, testing::ElementsAre(rotate(Pass::kForward, 0), rotate(Pass::kForward, 1), rotate(Pass::kBackward, 1),
                                             gradients(1), rotate(Pass::kBackward, 0), gradients(0)));
}

TEST(AttentionMessages, ForeignKeysAreNeitherDispatchedNorAreTheirGradientsReturned) {
  Plan plan = ring_of_two({0, 0});
  std::swap(plan.micro_batches[0].homes[0], plan.micro_batches[0].homes[1]);
  const auto bytes_of = [&](Pass pass, int layer, Stage stage) {
    std::int64_t bytes = 0;
    for (const ExchangeMessages& messages : attention_messages(plan, 0, {1, 1}, {0, 0}, {10, 100})) {
      if (messages.pass != pass || messages.layer != layer || messages.stage != stage) continue;
      for (const PeerBytes& send : messages.sends) bytes += send.num_bytes;
    }
    return bytes;
  };
  EXPECT_EQ(bytes_of(Pass::kForward, 0, Stage::kDispatch), 60);  // two tokens: query, key, value
  EXPECT_EQ(bytes_of(Pass::kForward, 1, Stage::kDispatch), 20);  // queries
  EXPECT_EQ(bytes_of(Pass::kForward, 1, Stage::kReturn), 20);    // outputs
  EXPECT_EQ(bytes_of(Pass::kBackward, 1, Stage::kReturn), 20);   // query gradients
  EXPECT_EQ(bytes_of(Pass::kBackward, 0, Stage::kReturn), 420);  // those, and the key and value gradients of both layers
}

/// Of all ranks, once as their senders and once as their receivers know them.
struct AllMessages {
  std::vector<PlanMessage> sent, received;
};

AllMessages all_messages(const Plan& plan, const ModelShape& model, const Topology& topology) {
  const HeadCounts heads{static_cast<int>(model.num_attention_heads), static_cast<int>(model.num_key_value_heads)};
  const std::int64_t row = model.head_dim * model.element_bytes;
  AllMessages all;
  for (int rank = 0; rank < topology.num_ranks(); ++rank) {
    for (const ExchangeMessages& one : attention_messages(plan, rank, heads, topology.node_of_rank, {row, 2 * row})) {
      const auto message = [&](int src, int dst, std::int64_t bytes) {
        return PlanMessage{one.micro_batch, one.pass, one.layer, one.stage, one.queue, one.round, src, dst, bytes};
      };
      for (const PeerBytes& send : one.sends) all.sent.push_back(message(rank, send.peer, send.num_bytes));
      for (const PeerBytes& receive : one.receives) all.received.push_back(message(receive.peer, rank, receive.num_bytes));
    }
  }
  std::sort(all.sent.begin(), all.sent.end());
  std::sort(all.received.begin(), all.received.end());
  return all;
}

std::string text(const std::vector<PlanMessage>& messages, std::size_t i) {
  if (i >= messages.size()) return "nothing";
  const PlanMessage& m = messages[i];
  return fmt::format("micro-batch {} {} layer {} {} queue {} round {} from {} to {}: {} bytes", m.micro_batch, name(m.pass),
                     m.layer, name(m.stage), m.queue, m.round, m.src, m.dst, m.bytes);
}

/// The first difference, or nothing.
std::string difference(const std::vector<PlanMessage>& a, const std::vector<PlanMessage>& b) {
  for (std::size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
    if (i < std::min(a.size(), b.size()) && a[i] == b[i]) continue;
    return fmt::format("message {} is [{}] and [{}]; {} and {} messages", i, text(a, i), text(b, i), a.size(), b.size());
  }
  return {};
}

TEST(AttentionMessages, TheSimulatorSendsTheSame) {
  Node node;
  node.num_ranks = 4;
  const Topology topology = uniform_topology(2, node);
  PlanRequest request;
  request.topology = topology;
  request.model.num_layers = request.model.num_dense_layers = 3;
  request.model.num_attention_heads = 8;
  request.model.num_key_value_heads = 8;
  request.model.head_dim = 16;
  request.model.hidden_size = 128;
  request.model.element_bytes = 2;  // so that sums in float32 are twice as wide
  request.lengths = {5000, 300, 1, 2900, 170, 400, 20, 1100, 77, 2300, 6000, 50};
  request.options.tokens_per_micro_batch = 9000;
  for (const Policy& policy : policies()) {
    SCOPED_TRACE(policy.name);
    request.options.policy = policy.name;
    const bool keeps_whole = request.options.policy == "longest_first";
    request.options.token_cap_per_rank = keeps_whole ? 0 : 1700;
    Plan plan = make_plan(request);
    plan.charged_tokens.clear();  // a run sends what is there
    for (const std::vector<int>& sources : {std::vector<int>{0, 1, 2}, std::vector<int>{0, 0, 0}, std::vector<int>{0, 1, 0}}) {
      for (MicroBatch& micro_batch : plan.micro_batches) micro_batch.kv_source_layer = sources;
      SimulationOptions options;
      options.records_messages = true;
      options.most_repeats = 0;
      const AllMessages all = all_messages(plan, request.model, topology);
      EXPECT_EQ(difference(all.sent, all.received), "");
      EXPECT_EQ(difference(all.sent, simulate(plan, request.model, topology, options).messages), "");
      EXPECT_EQ(all.sent.empty(), keeps_whole);
    }
  }
}

}  // namespace
}  // namespace ballast::scheduler
