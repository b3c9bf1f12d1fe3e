// One ring that stands for all sequences does what their expansion does.
#include "scheduler/sim/symmetric_ring.h"

#include <gtest/gtest.h>

#include <map>

#include "scheduler/policy/registry.h"
#include "scheduler/sim/simulator.h"
#include "scheduler/sim/step_program.h"
#include "tests/scheduler/sim/simulated_plans.h"

namespace ballast::scheduler {
namespace {

/// Sequences that need no padding on rings of `num_members`, so that the expansion has them as they are charged.
PlanRequest even_request(int num_nodes) {
  PlanRequest request = cluster_request("te_cp", "pile", num_nodes, 1);
  const std::int64_t multiple = 2 * request.topology.num_ranks();
  request.lengths = {multiple * 300, multiple, multiple * 17};
  request.model.num_layers = 2;
  request.model.num_dense_layers = 2;
  return request;
}

TEST(SymmetricRing, IsTheExpansionOfItsSequences) {
  const PlanRequest request = even_request(2);
  Plan plan = make_plan(request);
  ASSERT_EQ(plan.charged_tokens, plan.lengths);
  const MicroBatch& micro_batch = plan.micro_batches[0];
  const std::vector<int>& nodes = request.topology.node_of_rank;
  const std::optional<SymmetricRing> ring = symmetric_ring(micro_batch, plan.charged_tokens, nodes);
  ASSERT_TRUE(ring);
  EXPECT_EQ(ring->tokens, 2 * (300 + 1 + 17));
  EXPECT_EQ(ring->zone, Zone::kCluster);
  const HeadCounts heads{32, 8};
  const AttentionExpansion expansion(micro_batch, heads, nodes);
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
    for (const KeyValueUse use : {KeyValueUse::kOwn, KeyValueUse::kForeign}) {
      for (const int rank : {0, 5, 15}) {
        const RankAttention whole = expansion.rank(rank, pass, use), one = symmetric_attention(*ring, rank, heads, pass, use, 16);
        ASSERT_EQ(whole.exchanges.size(), one.exchanges.size());
        for (std::size_t e = 0; e < whole.exchanges.size(); ++e) {
          EXPECT_EQ(whole.exchanges[e].stage, one.exchanges[e].stage);
          EXPECT_EQ(whole.exchanges[e].round, one.exchanges[e].round);
          const auto rows_by_peer = [](const std::vector<Parcel>& parcels, int Parcel::*peer) {
            std::map<std::pair<int, Payload>, std::int64_t> rows;
            for (const Parcel& parcel : parcels) rows[{parcel.*peer, parcel.payload}] += parcel.num_rows;
            return rows;
          };
          EXPECT_EQ(rows_by_peer(whole.exchanges[e].sends, &Parcel::dst), rows_by_peer(one.exchanges[e].sends, &Parcel::dst));
          EXPECT_EQ(rows_by_peer(whole.exchanges[e].receives, &Parcel::src),
                    rows_by_peer(one.exchanges[e].receives, &Parcel::src));
        }
        std::map<std::pair<int, int>, std::int64_t> pairs;
        for (const BlockTask& task : whole.tasks) pairs[{task.round, task.key_member}] += task.num_pairs;
        ASSERT_EQ(pairs.size(), one.tasks.size());
        for (const BlockTask& task : one.tasks) EXPECT_EQ(task.num_pairs, (pairs[{task.round, task.key_member}]));
      }
    }
  }
}

TEST(SymmetricRing, TakesNothingElse) {
  const PlanRequest request = even_request(2);
  const Plan good = make_plan(request);
  const std::vector<int>& nodes = request.topology.node_of_rank;
  EXPECT_FALSE(symmetric_ring(good.micro_batches[0], {}, nodes)) << "real tokens are expanded one by one";
  std::vector<std::int64_t> charged = good.charged_tokens;
  ++charged[1];
  EXPECT_FALSE(symmetric_ring(good.micro_batches[0], charged, nodes));
  MicroBatch moved = good.micro_batches[0];
  std::swap(moved.homes[0], moved.homes[1]);
  EXPECT_FALSE(symmetric_ring(moved, good.charged_tokens, nodes));
  MicroBatch shorter = good.micro_batches[0];
  std::get<Ring>(shorter.work[2]).ranks.pop_back();
  EXPECT_FALSE(symmetric_ring(shorter, good.charged_tokens, nodes));
  MicroBatch uneven = good.micro_batches[0];
  --std::get<Ring>(uneven.work[0]).shares[0];
  ++std::get<Ring>(uneven.work[0]).shares[1];
  EXPECT_FALSE(symmetric_ring(uneven, good.charged_tokens, nodes));
}

TEST(SymmetricRing, StepsAreThoseOfTheExpansion) {
  for (const int num_nodes : {1, 2, 5}) {
    const PlanRequest request = even_request(num_nodes);
    Plan plan = make_plan(request);
    const Simulation one = simulate(plan, request.model, request.topology);
    plan.charged_tokens.clear();
    const Simulation whole = simulate(plan, request.model, request.topology);
    EXPECT_NEAR(one.makespan_seconds / whole.makespan_seconds, 1, 1e-9);
    EXPECT_EQ(one.message_bytes, whole.message_bytes);
    EXPECT_EQ(one.num_messages, whole.num_messages);
    EXPECT_TRUE(one.is_exact);
  }
}

TEST(SymmetricRing, RoundsThatAreLeftOutAddWhatTheOthersDo) {
  for (const int num_nodes : {4, 9}) {
    for (const bool is_routed : {false, true}) {
      PlanRequest request = cluster_request("te_cp", "pile", num_nodes, 1);
      request.model.num_layers = request.model.num_dense_layers = 6;
      Plan plan = make_plan(request);
      plan.is_routed = is_routed;
      const Simulation full = simulate(plan, request.model, request.topology);
      const Simulation quick = Simulator(plan, request.model, request.topology, 6 * num_nodes).run();
      EXPECT_TRUE(full.is_exact);
      EXPECT_FALSE(quick.is_exact);
      EXPECT_NEAR(quick.makespan_seconds / full.makespan_seconds, 1, is_routed ? 0.04 : 1e-4)
          << num_nodes << " nodes, routed " << is_routed;
      EXPECT_NEAR(static_cast<double>(quick.message_bytes) / static_cast<double>(full.message_bytes), 1, 1e-9);
      EXPECT_NEAR(quick.ranks[3].busy_seconds() / full.ranks[3].busy_seconds(), 1, 1e-9);
      EXPECT_NEAR(quick.ranks[3].exposed_seconds / full.ranks[3].exposed_seconds, 1, 0.06);
    }
  }
}

TEST(SymmetricRing, EachNodeSendsThroughOneRank) {
  const PlanRequest request = cluster_request("te_cp", "prolong64k", 20, 1);  // 160 ranks
  const Plan plan = make_plan(request);
  const Simulation simulation = simulate(plan, request.model, request.topology);
  EXPECT_EQ(step_program(plan, request.model, request.topology, 128).num_rounds, 128);
  EXPECT_EQ(step_program(plan, request.model, request.topology, 128).all_rounds, 160);
  // 159 blocks forward, and backward as many and their gradients, which are twice as wide.
  std::int64_t tokens = 0, sent = 0;
  for (const std::int64_t charged : plan.charged_tokens) tokens += charged / 160;
  for (const NicBytes& nic : simulation.nics) sent += nic.sent;
  EXPECT_EQ(sent, 20 * 32 * 159 * (1 + 1 + 2) * tokens * 2 * 32 * 128 * 2);
  EXPECT_THROW(Simulator(plan, request.model, request.topology, 3), std::invalid_argument);
}

}  // namespace
}  // namespace ballast::scheduler
