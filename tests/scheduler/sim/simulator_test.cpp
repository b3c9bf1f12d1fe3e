// Timelines worked by hand, and what holds for every plan.
#include "scheduler/sim/simulator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "scheduler/cost/rank_load.h"
#include "scheduler/make_plan.h"
#include "scheduler/policy/registry.h"
#include "tests/scheduler/sim/simulated_plans.h"

namespace ballast::scheduler {
namespace {

using testing::AllOf;
using testing::HasSubstr;

/// One layer, one head; a token takes 3 s for its projections, 1 s for that of the output and nothing else, a pair of query and
/// key 2 s; twice and 5 s backward. A row has 32 bytes.
ModelShape slow_model() {
  ModelShape model;
  model.hidden_size = 8;
  model.num_layers = 1;
  model.num_attention_heads = 1;
  model.num_key_value_heads = 1;
  model.head_dim = 8;
  model.num_dense_layers = 1;
  return model;
}

/// A message takes 1 s + its bytes over 64 bytes/s.
Topology slow_topology(int num_nodes, int ranks_per_node) {
  Node node;
  node.num_ranks = ranks_per_node;
  node.nic_bytes_per_second = 64;
  Topology topology = uniform_topology(num_nodes, node);
  topology.intra_node_bytes_per_second = 64;
  topology.message_seconds = topology.inter_node_message_seconds = 1;
  topology.attention_flops_per_second = 16;
  topology.linear_flops_per_second = 128;
  return topology;
}

Plan plan_of(std::vector<std::int64_t> lengths, std::vector<AttentionWork> work, std::vector<std::vector<Chunk>> homes,
             std::int64_t num_layers = 1) {
  Plan plan;
  plan.lengths = std::move(lengths);
  MicroBatch micro_batch;
  for (std::size_t s = 0; s < plan.lengths.size(); ++s) micro_batch.sequences.push_back(static_cast<std::int64_t>(s));
  micro_batch.work = std::move(work);
  micro_batch.homes = std::move(homes);
  for (int l = 0; l < num_layers; ++l) micro_batch.kv_source_layer.push_back(l);
  plan.ranks.assign(micro_batch.homes.size(), training_program(1));
  plan.micro_batches.push_back(std::move(micro_batch));
  return plan;
}

/// Four tokens on a ring of two. Rank 0 has tokens 0 and 3, rank 1 tokens 1 and 2; 3 pairs of own keys and 2 of the other's each.
Plan ring_of_two() { return plan_of({4}, {Ring{0, {0, 1}, {2, 2}}}, {{{0, 0, 1}, {0, 3, 4}}, {{0, 1, 3}}}); }

TEST(Simulator, ARingOfTwoByHand) {
  SimulationOptions options;
  options.records_messages = true;
  const Simulation simulation = simulate(ring_of_two(), slow_model(), slow_topology(1, 2), options);
  // Forward: projections to 6, own keys to 12 while the others' (128 bytes: 3 s) come, theirs to 16, output to 18. Backward:
  // output's inputs to 20, own keys to 35, the others' to 45, their gradients to the owner at 48; meanwhile the output's weights
  // to
  // 47. Projections to 54, their weights to 60.
  EXPECT_DOUBLE_EQ(simulation.makespan_seconds, 60);
  for (const RankTime& rank : simulation.ranks) {
    EXPECT_DOUBLE_EQ(rank.attention_seconds, 35);
    EXPECT_DOUBLE_EQ(rank.linear_seconds, 24);
    EXPECT_DOUBLE_EQ(rank.exposed_seconds, 1);
    EXPECT_DOUBLE_EQ(rank.end_seconds, 60);
  }
  const auto message = [](Pass pass, Stage stage, int round, int src) {
    return PlanMessage{0, pass, 0, stage, 0, round, src, 1 - src, 128};
  };
  EXPECT_THAT(simulation.messages,
              testing::ElementsAre(message(Pass::kForward, Stage::kRotate, 1, 0), message(Pass::kForward, Stage::kRotate, 1, 1),
                                   message(Pass::kBackward, Stage::kRotate, 1, 0), message(Pass::kBackward, Stage::kRotate, 1, 1),
                                   message(Pass::kBackward, Stage::kRotateGradients, 2, 0),
                                   message(Pass::kBackward, Stage::kRotateGradients, 2, 1)));
  EXPECT_EQ(simulation.num_messages, 6);
  EXPECT_EQ(simulation.message_bytes, 6 * 128);
  for (const RankTime& rank : simulation.ranks) {
    EXPECT_EQ(rank.most_buffer_bytes, 2 * 128);  // backward: the other's keys and values, and gradients of its own
    EXPECT_EQ(rank.most_deferred_layers, 1);     // of the output until 47; then those of the projections
  }
}

TEST(Simulator, CardsAreUsedBetweenNodesOnly) {
  const Simulation inside = simulate(ring_of_two(), slow_model(), slow_topology(1, 2));
  EXPECT_EQ(inside.nics[0].sent, 0);
  Topology topology = slow_topology(2, 1);
  topology.intra_node_bytes_per_second = 1e12;
  const Simulation between = simulate(ring_of_two(), slow_model(), topology);
  EXPECT_DOUBLE_EQ(between.makespan_seconds, 60);
  for (const NicBytes& nic : between.nics) {
    EXPECT_EQ(nic.sent, 3 * 128);
    EXPECT_EQ(nic.received, 3 * 128);
  }
}

std::string message_of(const Plan& plan, const ModelShape& model, const Topology& topology) {
  try {
    simulate(plan, model, topology);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "no error";
}

TEST(Simulator, AStepBeyondTheClockIsRefused) {
  // No operation is beyond it, their sum is: work, and one that only waiting makes so long.
  Topology topology = slow_topology(1, 2);
  topology.attention_flops_per_second = 16 / 2e5;
  EXPECT_THAT(message_of(ring_of_two(), slow_model(), topology), HasSubstr("no error"));  // 7e6 + 25 s
  topology.attention_flops_per_second = 16 / 3e5;
  EXPECT_THAT(message_of(ring_of_two(), slow_model(), topology),
              AllOf(HasSubstr("the step takes 10500024 seconds or more; the simulated clock ends after 9000000"),
                    HasSubstr("Raise the rates of the cluster, or make the step smaller")));
  topology = slow_topology(1, 2);
  topology.intra_node_bytes_per_second = 128 / 4e6;
  EXPECT_THAT(message_of(ring_of_two(), slow_model(), topology), HasSubstr("the simulated clock ends after 9000000"));
}

TEST(Simulator, LongKernelsTakeWhatTheirTokensDo) {
  // Every token has 4 s forward and 8 s backward, each in a kernel of its own.
  ModelShape model = slow_model();
  Topology topology = slow_topology(1, 1);
  topology.attention_flops_per_second = 1e30;
  SimulationOptions options;
  options.tokens_per_kernel = 1;
  const std::int64_t tokens = 500'000;
  const Simulation simulation =
      simulate(plan_of({tokens}, {Ring{0, {0}, {tokens}}}, {{{0, 0, tokens}}}), model, topology, options);
  EXPECT_NEAR(simulation.makespan_seconds, 12.0 * static_cast<double>(tokens), 1);
}

/// Two sequences of two tokens at home on rank 0. Rank 1 computes the first one's attention.
Plan served_sequence() {
  return plan_of({2, 2}, {TaskSet{{{0, 1, {{0, 0, 2}}}}}, Ring{1, {0}, {2}}}, {{{0, 0, 2}, {1, 0, 2}}, {}});
}

TEST(Simulator, LinearWorkOfReadyTokensRunsWhileOthersAreAway) {
  const Simulation simulation = simulate(served_sequence(), slow_model(), slow_topology(1, 2));
  // Rank 0 forward: projections of the first sequence to 6, of the second to 12, its attention to 18. Rank 1 has the first one's
  // queries, keys and values (192 bytes: 4 s) at 10, is done at 16, and the output (64 bytes: 2 s) is back at 18. Output of the
  // first to 20, of the second to 22. Backward: outputs to 24 and 26, attention of the second to 41, its projections to 47: they
  // are not interrupted when the first one's gradients are back at 24 + 2 + 15 + 4 = 45. Projections of the first to 53, weights
  // of all outputs to 57 and of all projections to 69.
  EXPECT_DOUBLE_EQ(simulation.makespan_seconds, 69);
  EXPECT_DOUBLE_EQ(simulation.ranks[0].exposed_seconds, 0);
  EXPECT_DOUBLE_EQ(simulation.ranks[1].attention_seconds, 21);
  EXPECT_DOUBLE_EQ(simulation.ranks[1].linear_seconds, 0);
}

TEST(Simulator, WithoutOverlapLinearWorkWaitsForEverything) {
  SimulationOptions options;
  options.overlaps_linear = false;
  const Simulation simulation = simulate(served_sequence(), slow_model(), slow_topology(1, 2), options);
  // Forward: projections to 12, attention to 18 and, on rank 1, from 16 to 22; the output is back at 24, done at 28. Backward:
  // outputs to 36, attention to 51 and, on rank 1, from 38 to 53; gradients back at 57, projections to 81.
  EXPECT_DOUBLE_EQ(simulation.makespan_seconds, 81);
  EXPECT_DOUBLE_EQ(simulation.ranks[0].exposed_seconds, 6 + 6);
}

TEST(Simulator, KernelsOfReadyTokensAreShortEnoughForLateOnes) {
  // The first sequence's gradients are back in the middle of the second one's projections.
  const Plan plan = plan_of({4, 4}, {TaskSet{{{0, 1, {{0, 0, 4}}}}}, Ring{1, {0}, {4}}}, {{{0, 0, 4}, {1, 0, 4}}, {}}, 2);
  ModelShape model = slow_model();
  model.num_layers = model.num_dense_layers = 2;
  SimulationOptions options;
  options.records_timeline = true;
  const auto next_dispatch = [&](std::int64_t tokens_per_kernel) {
    options.tokens_per_kernel = tokens_per_kernel;
    for (const Span& span : simulate(plan, model, slow_topology(1, 2), options).timeline.spans) {
      if (span.work == Work::kDispatch && span.pass == Pass::kBackward && span.layer == 0) return span.begin_seconds;
    }
    return -1.0;
  };
  EXPECT_LT(next_dispatch(1), next_dispatch(0));
}

TEST(Simulator, GradientsOfWeightsFillGapsUpToTwoLayersLater) {
  constexpr int kLayers = 6;
  ModelShape model = slow_model();
  model.num_layers = model.num_dense_layers = kLayers;
  SimulationOptions options;
  options.records_timeline = true;
  const auto weights_of = [&](const AttentionWork& work) {
    const Plan plan = plan_of({4}, {work}, {{{0, 0, 4}}, {}}, kLayers);
    std::map<int, std::pair<double, double>> begin_and_end;  // by layer
    std::map<int, double> inputs_begin;
    for (const Span& span : simulate(plan, model, slow_topology(1, 2), options).timeline.spans) {
      if (span.pass != Pass::kBackward || span.lane != Lane::kCompute || span.rank != 0) continue;
      if (span.work == Work::kWeightGradients) {
        auto [it, is_new] = begin_and_end.try_emplace(span.layer, span.begin_seconds, span.end_seconds);
        it->second.first = std::min(it->second.first, span.begin_seconds);
        it->second.second = std::max(it->second.second, span.end_seconds);
      } else if (span.work == Work::kFeedForward) {
        inputs_begin.try_emplace(span.layer, span.begin_seconds);
      }
    }
    return std::pair(begin_and_end, inputs_begin);
  };
  // All attention is away for longer than the weights of a layer take.
  const auto [in_gaps, inputs] = weights_of(TaskSet{{{0, 1, {{0, 0, 4}}}}});
  ASSERT_EQ(in_gaps.size(), static_cast<std::size_t>(kLayers));
  for (int l = kLayers - 1; l > 0; --l) EXPECT_LE(in_gaps.at(l).second, inputs.at(l - 1)) << l;
  // No gaps: weights are done when a third layer comes, not before.
  const auto [overdue, no_wait] = weights_of(Ring{0, {0}, {4}});
  ASSERT_EQ(overdue.size(), static_cast<std::size_t>(kLayers));
  for (int l = kLayers - 1; l > 2; --l) {
    EXPECT_GT(overdue.at(l).first, no_wait.at(l - 2)) << l;
    EXPECT_LE(overdue.at(l).second, no_wait.at(l - 3)) << l;
  }
}

TEST(Simulator, ReceivesArePostedBeforeTheirExchange) {
  // Both ranks compute what is at home on the other, rank 1 for longer. Rank 0 has its output back before it is done itself.
  Plan plan = plan_of({2, 4}, {TaskSet{{{0, 1, {{0, 0, 2}}}, {1, 0, {{1, 0, 4}}}}}}, {{{0, 0, 2}}, {{1, 0, 4}}});
  SimulationOptions options;
  options.overlaps_linear = false;
  options.records_timeline = true;
  double returned_to_zero = -1;
  for (const Span& span : simulate(plan, slow_model(), slow_topology(1, 2), options).timeline.spans) {
    if (span.work == Work::kReturn && span.pass == Pass::kForward && span.lane == Lane::kNodeReceive && span.owner == 0) {
      returned_to_zero = span.begin_seconds;
    }
  }
  // Rank 1 has rank 0's tokens at 16 (when it comes to the layer, at 12, + 4) and is done at 22. Rank 0 has those of rank 1 at
  // 12 + 7 = 19, and its 10 pairs only at 39.
  EXPECT_DOUBLE_EQ(returned_to_zero, 23);
}

TEST(Simulator, ChargedTokensCostWhatTheirRuleComputes) {
  Plan plan = ring_of_two();
  plan.charged_tokens = {8};  // a ring of two chunks of two tokens each: 10 pairs of own keys and 8 others
  Simulation simulation = simulate(plan, slow_model(), slow_topology(1, 2));
  EXPECT_DOUBLE_EQ(simulation.ranks[0].attention_seconds, 18 * 7);
  EXPECT_DOUBLE_EQ(simulation.ranks[0].linear_seconds, 2 * 24);
  EXPECT_EQ(simulation.message_bytes, 2 * 6 * 128);
  plan.charged_tokens = {6};  // no such ring: pairs grow with the square
  simulation = simulate(plan, slow_model(), slow_topology(1, 2));
  EXPECT_DOUBLE_EQ(simulation.ranks[0].attention_seconds, 1.5 * 1.5 * 35);
  EXPECT_DOUBLE_EQ(simulation.ranks[0].linear_seconds, 1.5 * 24);
  EXPECT_EQ(simulation.message_bytes, 1.5 * 6 * 128);
}

TEST(Simulator, RanksWaitForEachOtherBeforeExperts) {
  ModelShape model = slow_model();
  model.num_dense_layers = 0;
  model.num_experts = 2;
  model.experts_per_token = 1;
  model.expert_intermediate_size = 4;  // 1.5 s of a token, forward
  const Plan plan = plan_of({2, 1}, {Ring{0, {0}, {2}}, Ring{1, {1}, {1}}}, {{{0, 0, 2}}, {{1, 0, 1}}});
  const Simulation simulation = simulate(plan, model, slow_topology(1, 2));
  // Rank 0: projections 6, attention 6, output and scores 2 * 1.25: 14.5. Rank 1: 3 + 2 + 1.25, then it waits 8.25 s.
  EXPECT_DOUBLE_EQ(simulation.ranks[0].barrier_seconds, 0);
  EXPECT_DOUBLE_EQ(simulation.ranks[1].barrier_seconds, 8.25);
  EXPECT_DOUBLE_EQ(simulation.ranks[1].exposed_seconds, 0);
  // Experts 1.5, and backward twice of 1.5, 1.25 and 3, and a pair.
  EXPECT_DOUBLE_EQ(simulation.ranks[1].end_seconds, 14.5 + 1.5 + 2 * 5.75 + 5);
}

TEST(Simulator, WithoutMessagesTheSlowestRankIsTheStep) {
  PlanRequest request = cluster_request("longest_first", "wikipedia_quantiles", 4, 1);
  const Plan plan = make_plan(request);
  const PlanLoad load = plan_load(plan, request.model, request.topology);
  const Simulation simulation = simulate(plan, request.model, request.topology);
  double slowest = 0;
  for (std::size_t r = 0; r < load.ranks.size(); ++r) {
    slowest = std::max(slowest, load.ranks[r].seconds());
    EXPECT_NEAR(simulation.ranks[r].busy_seconds(), load.ranks[r].seconds(), 1e-9);
    EXPECT_NEAR(simulation.ranks[r].end_seconds, load.ranks[r].seconds(), 1e-9);
  }
  EXPECT_NEAR(simulation.makespan_seconds, slowest, 1e-9);
  EXPECT_EQ(simulation.num_messages, 0);
}

TEST(Simulator, EveryPolicysBusyTimeIsItsWork) {
  for (const Policy& policy : policies()) {
    PlanRequest request = cluster_request(policy.name, "pile", 2, 2);
    Plan plan = make_plan(request);
    plan.charged_tokens.clear();
    const PlanLoad load = plan_load(plan, request.model, request.topology);
    const Simulation simulation = simulate(plan, request.model, request.topology);
    double work = 0, busy = 0;
    for (std::size_t r = 0; r < load.ranks.size(); ++r) {
      const RankTime& rank = simulation.ranks[r];
      work += load.ranks[r].seconds();
      busy += rank.busy_seconds();
      EXPECT_NEAR(rank.busy_seconds() + rank.exposed_seconds + rank.barrier_seconds, rank.end_seconds, 1e-9) << policy.name;
    }
    EXPECT_NEAR(busy / work, 1, 1e-4) << policy.name;
  }
}

TEST(Simulator, WhatIsSentIsReceived) {
  for (const Policy& policy : policies()) {
    PlanRequest request = cluster_request(policy.name, "wikipedia_quantiles", 3, 2);
    request.model.num_layers = 3;
    request.model.num_dense_layers = 3;
    Plan plan = make_plan(request);
    plan.charged_tokens.clear();
    SimulationOptions options;
    options.records_messages = true;
    const Simulation simulation = simulate(plan, request.model, request.topology, options);

    // The same from the expansion.
    const std::int64_t row = request.model.head_dim * request.model.element_bytes;
    std::int64_t num_bytes = 0;
    std::vector<NicBytes> nics(request.topology.nic_groups.size());
    for (const MicroBatch& micro_batch : plan.micro_batches) {
      const AttentionExpansion expansion(micro_batch, {32, 32}, request.topology.node_of_rank);
      for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
        for (int r = 0; r < request.topology.num_ranks(); ++r) {
          for (const AttentionExchange& exchange : expansion.rank(r, pass).exchanges) {
            for (const Parcel& parcel : exchange.sends) {
              if (parcel.dst == r) continue;
              const std::int64_t bytes = 3 * parcel.num_rows * (parcel.payload == Payload::kKeyValueGradient ? 2 * row : row);
              num_bytes += bytes;
              if (request.topology.node_of_rank[r] == request.topology.node_of_rank[parcel.dst]) continue;
              nics[request.topology.nic_group_of_rank[r]].sent += bytes;
              nics[request.topology.nic_group_of_rank[parcel.dst]].received += bytes;
            }
          }
        }
      }
    }
    EXPECT_EQ(simulation.message_bytes, num_bytes) << policy.name;
    EXPECT_EQ(simulation.num_messages, static_cast<std::int64_t>(simulation.messages.size())) << policy.name;
    for (std::size_t g = 0; g < nics.size(); ++g) {
      EXPECT_EQ(simulation.nics[g].sent, nics[g].sent) << policy.name;
      EXPECT_EQ(simulation.nics[g].received, nics[g].received) << policy.name;
    }
  }
}

TEST(Simulator, RoutingSpreadsTheSameBytesOverTheCards) {
  for (const Policy& policy : policies()) {
    PlanRequest request = cluster_request(policy.name, "prolong64k", 3, 2);
    request.model.num_layers = 2;
    request.model.num_dense_layers = 2;
    Plan plan = make_plan(request);
    SimulationOptions options;
    options.records_messages = true;
    plan.is_routed = false;
    const Simulation direct = simulate(plan, request.model, request.topology, options);
    plan.is_routed = true;
    const Simulation routed = simulate(plan, request.model, request.topology, options);
    EXPECT_EQ(direct.messages, routed.messages) << policy.name;
    EXPECT_EQ(direct.message_bytes, routed.message_bytes) << policy.name;
    std::int64_t direct_bytes = 0, routed_bytes = 0, most_direct = 0, most_routed = 0;
    for (std::size_t g = 0; g < direct.nics.size(); ++g) {
      direct_bytes += direct.nics[g].sent;
      routed_bytes += routed.nics[g].sent;
      most_direct = std::max(most_direct, direct.nics[g].sent);
      most_routed = std::max(most_routed, routed.nics[g].sent);
    }
    EXPECT_EQ(direct_bytes, routed_bytes) << policy.name;
    EXPECT_LE(most_routed, most_direct) << policy.name;
    if (policy.name != std::string("te_cp")) continue;
    // A ring over the nodes leaves each node through one card of four.
    EXPECT_GE(routed.num_messages, direct.num_messages);
    EXPECT_NEAR(static_cast<double>(most_direct) / static_cast<double>(most_routed), 4, 0.1);
    EXPECT_LT(routed.makespan_seconds, 0.5 * direct.makespan_seconds);
  }
}

/// A small step with all kinds of work, all layers recorded.
Simulation recorded(const std::string& policy, SimulationOptions options = {}) {
  PlanRequest request = cluster_request(policy, "pile", 2, 5);
  request.model.num_layers = 3;
  request.model.num_dense_layers = 3;
  options.records_timeline = options.records_messages = true;
  return simulate(make_plan(request), request.model, request.topology, options);
}

TEST(Simulator, TwoRunsHaveTheSameEvents) {
  for (const Policy& policy : policies()) {
    const Simulation one = recorded(policy.name), two = recorded(policy.name);
    EXPECT_EQ(one.timeline.spans, two.timeline.spans) << policy.name;
    EXPECT_EQ(one.messages, two.messages) << policy.name;
  }
}

TEST(Simulator, NothingDoesTwoThingsAtOnce) {
  for (const Policy& policy : policies()) {
    Simulation simulation = recorded(policy.name);
    std::vector<Span>& spans = simulation.timeline.spans;
    std::sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) {
      return std::tie(a.lane, a.owner, a.begin_seconds, a.end_seconds) <
             std::tie(b.lane, b.owner, b.begin_seconds, b.end_seconds);
    });
    for (std::size_t i = 1; i < spans.size(); ++i) {
      if (spans[i].lane != spans[i - 1].lane || spans[i].owner != spans[i - 1].owner) continue;
      EXPECT_GE(spans[i].begin_seconds, spans[i - 1].end_seconds) << policy.name << ", span " << i;
    }
  }
}

TEST(Simulator, StrictTasksRunInTheOrderOfThePlan) {
  SimulationOptions options;
  options.is_strict = true;
  bool differs = false;
  for (const std::string policy : {"ballast", "zeppelin", "megatron_dcp"}) {
    const Simulation strict = recorded(policy, options);
    std::map<std::tuple<int, Pass, int>, std::pair<int, int>> last;
    for (const Span& span : strict.timeline.spans) {
      if (span.work != Work::kAttention || span.lane != Lane::kCompute) continue;
      std::pair<int, int>& before = last[{span.rank, span.pass, span.layer}];
      EXPECT_LE(before, std::pair(span.queue, span.round)) << policy;
      before = {span.queue, span.round};
    }
    differs = differs || strict.makespan_seconds != recorded(policy).makespan_seconds;
  }
  EXPECT_TRUE(differs);
}

/// Simulates all layers and some of them, and compares what does not depend on the clock. Returns: makespan of some over that of
/// all.
double some_over_all(const PlanRequest& request, int most_repeats, bool overlaps_linear = true) {
  const Simulator simulator(make_plan(request), request.model, request.topology);
  SimulationOptions options;
  options.overlaps_linear = overlaps_linear;
  options.most_repeats = 0;
  const Simulation full = simulator.run(options);
  EXPECT_TRUE(full.is_exact);
  EXPECT_EQ(full.num_simulated_layers, 32);
  options.most_repeats = most_repeats;
  const Simulation some = simulator.run(options);
  EXPECT_EQ(some.num_simulated_layers, most_repeats);
  EXPECT_EQ(some.message_bytes, full.message_bytes);
  for (std::size_t r = 0; r < full.ranks.size(); ++r) {
    EXPECT_NEAR(some.ranks[r].busy_seconds(), full.ranks[r].busy_seconds(), 1e-9) << request.options.policy;
  }
  const double ratio = some.makespan_seconds / full.makespan_seconds;
  EXPECT_TRUE(!some.is_exact || std::abs(ratio - 1) < 1e-4) << request.options.policy << ": " << ratio;
  return ratio;
}

TEST(Simulator, SomeLayersStandForAll) {
  for (const std::string table :
       {"pile", "prolong64k", "prolong512k", "wikipedia_quantiles", "prolong_distca_quantiles", "wlb_pretrain_quantiles"}) {
    EXPECT_NEAR(some_over_all(cluster_request("ballast", table, 16, 1), 16), 1, 0.01) << table;
    EXPECT_NEAR(some_over_all(cluster_request("ballast", table, 16, 1), 8, false), 1, 0.01) << table;
  }
}

TEST(Simulator, HalfOfTheLayersStandForAllUnderEveryPolicy) {
  for (const Policy& policy : policies()) {
    for (const std::string table : {"pile", "wikipedia_quantiles"}) {
      for (const int num_nodes : {2, 6}) {
        EXPECT_NEAR(some_over_all(cluster_request(policy.name, table, num_nodes, 4), 16), 1, 0.03)
            << policy.name << ", " << table << ", " << num_nodes << " nodes";
      }
    }
  }
}

TEST(Simulator, RefusesWhatDoesNotFit) {
  const auto refusal = [](const Plan& plan, const ModelShape& model, const Topology& topology) -> std::string {
    try {
      simulate(plan, model, topology);
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_THAT(refusal(ring_of_two(), slow_model(), slow_topology(1, 3)), HasSubstr("a plan for 2 ranks on a cluster of 3"));
  ModelShape deep = slow_model();
  deep.num_layers = 5;
  EXPECT_THAT(refusal(ring_of_two(), deep, slow_topology(1, 2)), HasSubstr("sources of 1 layers, the model has 5"));
  Topology without_cards = slow_topology(2, 1);
  for (Node& node : without_cards.nodes) {
    node.num_nics = 0;
    node.nic_of_rank.clear();
  }
  number_ranks(without_cards);
  EXPECT_THAT(refusal(ring_of_two(), slow_model(), without_cards), HasSubstr("has no card"));
}

}  // namespace
}  // namespace ballast::scheduler
