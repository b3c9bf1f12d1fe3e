#include "scheduler/policy/ballast.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "scheduler/cost/rank_load.h"
#include "tests/scheduler/policy/policy_requests.h"

namespace ballast::scheduler {
namespace {

/// Capped at that many times the mean of the ranks.
PlanRequest request(int num_nodes, int ranks_per_node, std::vector<std::int64_t> lengths, double cap_over_budget) {
  PlanRequest result = plan_request("ballast", std::move(lengths), num_nodes, ranks_per_node);
  const std::int64_t num_ranks = result.topology.num_ranks();
  std::int64_t total = 0;
  for (const std::int64_t length : result.lengths) total += length;
  const std::int64_t budget = (total + num_ranks - 1) / num_ranks;
  result.options.token_cap_per_rank =
      std::max<std::int64_t>(budget, static_cast<std::int64_t>(static_cast<double>(budget) * cap_over_budget));
  return result;
}

double imbalance(const PlanRequest& wanted, const Plan& plan) { return plan_load(plan, wanted.model, wanted.topology).imbalance; }

TEST(Ballast, AnyLengthsGiveAValidPlanUnderTheCap) {
  EXPECT_TRUE(rc::check("make_plan validates coverage and the cap; nothing that fits is refused", [] {
    const auto bits = *rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 17));
    std::vector<std::int64_t> lengths;
    for (const int b : bits) lengths.push_back(*rc::gen::inRange<std::int64_t>(1, (std::int64_t{1} << b) + 1));
    const double cap = *rc::gen::element(1.0, 1.1, 1.5, 4.0);
    const PlanRequest wanted = request(*rc::gen::inRange(1, 6), *rc::gen::inRange(1, 5), lengths, cap);
    RC_ASSERT(make_plan(wanted) == make_plan(wanted));
  }));
}

TEST(Ballast, UnevenNodesAreLegal) {
  PlanRequest wanted = request(3, 4, {100000, 4000, 4000, 300, 20, 7}, 1.2);
  wanted.topology.nodes[1].num_ranks = 1;
  wanted.topology.nodes[1].nic_of_rank = {0};
  wanted.topology.nodes[2].num_nics = 4;
  wanted.topology.nodes[2].nic_of_rank = {0, 2, 0, 2};
  wanted.topology.nodes[2].nics_per_rank = 2;
  number_ranks(wanted.topology);
  wanted.options.token_cap_per_rank = 14000;
  EXPECT_LT(imbalance(wanted, make_plan(wanted)), 1.1);
}

TEST(Ballast, ANodeWithoutCardsTakesWhatStaysInIt) {
  PlanRequest wanted = request(2, 2, {2000, 2000, 1900, 1900, 300, 300, 20, 7}, 1.2);
  for (Node& node : wanted.topology.nodes) {
    node.num_nics = 0;
    node.nic_of_rank.clear();
  }
  number_ranks(wanted.topology);
  const Plan plan = make_plan(wanted);  // refused if anything went over nodes
  EXPECT_LT(imbalance(wanted, plan), 1.1);
  // The long one is more than its node's share of the work, and stays in it nevertheless.
  wanted.lengths = {3000, 100, 100};
  wanted.options.token_cap_per_rank = 2000;
  EXPECT_GT(imbalance(wanted, make_plan(wanted)), 1.5);
}

TEST(Ballast, OneSequenceLongerThanTheClusterIsSharedByAll) {
  const PlanRequest wanted = request(4, 2, {1 << 17}, 1.1);
  EXPECT_LT(imbalance(wanted, make_plan(wanted)), 1.02);
}

TEST(Ballast, FewHeadsOnTinyNodesAreLevelUnderATightCap) {
  std::vector<std::int64_t> lengths{19636, 16140, 13453, 9539, 5644, 5039};
  for (int i = 0; i < 240; ++i) lengths.push_back(20 + 29 * (i % 53));
  PlanRequest wanted = request(32, 2, lengths, 1.1);
  wanted.model.num_attention_heads = 4;
  const Plan plan = make_plan(wanted);
  // A ring ties tokens to work, so the cap binds; filling by room alone gives above 3.
  EXPECT_LT(imbalance(wanted, plan), 1.3);
}

// One document is most of the batch, and keys and values of one of its heads are more than a node may hold.
TEST(Ballast, AHeadThatDoesNotFitANodeIsARingOfGroupsOfNodes) {
  std::vector<std::int64_t> lengths{400000};
  for (int i = 0; i < 400; ++i) lengths.push_back(100 + 37 * (i % 50));
  const PlanRequest wanted = request(64, 2, lengths, 1.1);
  const Plan plan = make_plan(wanted);
  int most_ranks = 0;
  for (const AttentionWork& work : plan.micro_batches[0].work) {
    if (const auto* ring = std::get_if<HeadRing>(&work)) {
      for (const HeadPart& part : ring->parts) most_ranks = std::max(most_ranks, static_cast<int>(part.ranks.size()));
    }
  }
  EXPECT_GT(most_ranks, 2);
  EXPECT_LT(imbalance(wanted, plan), 1.1);
}

TEST(Ballast, LongAndShortTogetherAreLevel) {
  std::vector<std::int64_t> lengths{120000, 70000, 33000};
  for (int i = 0; i < 300; ++i) lengths.push_back(200 + 37 * (i % 50));
  const PlanRequest wanted = request(4, 8, lengths, 1.1);
  const Plan plan = make_plan(wanted);
  EXPECT_EQ(plan.micro_batches[0].homes.size(), 32u);
  EXPECT_LT(imbalance(wanted, plan), 1.06);
}

// Attention levels only where some ranks hold more tokens than the mean; far more, which the cap allows, would make them wait.
TEST(Ballast, ALooseCapIsNotFilled) {
  std::vector<std::int64_t> lengths{120000};
  for (int i = 0; i < 36; ++i) lengths.push_back(2000 + 997 * i % 4000);
  PlanRequest wanted = request(8, 8, lengths, 1.5);
  wanted.model.num_attention_heads = wanted.model.num_key_value_heads = 12;
  const PlanLoad load = plan_load(make_plan(wanted), wanted.model, wanted.topology);
  std::int64_t most_tokens = 0, all_tokens = 0;
  for (const RankLoad& rank : load.ranks) most_tokens = std::max(most_tokens, rank.most_tokens);
  for (const std::int64_t length : lengths) all_tokens += length;
  EXPECT_LT(static_cast<double>(most_tokens), 1.25 * static_cast<double>(all_tokens) / 64);
  EXPECT_LT(load.imbalance, 1.05);
}

constexpr int kFastNodes = 64, kFastRanks = 8;

/// A plan for ranks that compute fast beside their cards, one each: what cards send decides. By rank: tokens of cut sequences at
/// home there, times the nodes that have heads of their sequence and so get their keys and values.
std::vector<double> sent_on_fast_ranks(const std::vector<std::int64_t>& lengths) {
  PlanRequest wanted = request(kFastNodes, kFastRanks, lengths, 1.5);
  wanted.model.num_key_value_heads = wanted.model.num_attention_heads;
  Node node;
  node.num_ranks = node.num_nics = kFastRanks;
  node.nic_bytes_per_second = 12.5e9;
  wanted.topology = uniform_topology(kFastNodes, node);
  wanted.topology.attention_flops_per_second = wanted.topology.linear_flops_per_second = 187e12;
  wanted.topology.intra_node_bytes_per_second = 160e9;
  const MicroBatch micro_batch = make_plan(wanted).micro_batches.at(0);

  std::map<std::int64_t, std::set<int>> head_nodes;  // by sequence
  for (const AttentionWork& work : micro_batch.work) {
    if (const auto* ring = std::get_if<HeadRing>(&work)) {
      for (const HeadPart& part : ring->parts) head_nodes[ring->sequence].insert(part.ranks[0] / kFastRanks);
    }
  }
  std::vector<double> sent(micro_batch.homes.size(), 0);
  for (std::size_t rank = 0; rank < micro_batch.homes.size(); ++rank) {
    for (const Chunk& chunk : micro_batch.homes[rank]) {
      const auto cut = head_nodes.find(chunk.sequence);
      if (cut != head_nodes.end()) sent[rank] += static_cast<double>((chunk.end - chunk.begin) * cut->second.size());
    }
  }
  return sent;
}

double most_over_mean(const std::vector<double>& values) {
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  EXPECT_GT(sum, 0);
  return *std::max_element(values.begin(), values.end()) * static_cast<double>(values.size()) / sum;
}

TEST(Ballast, NoNodeSendsFarMoreThanTheOthers) {
  std::vector<std::int64_t> lengths{100000, 40000, 40000, 40000, 40000};
  for (int i = 0; i < 524; ++i) lengths.push_back(500 + 997 * i % 6000);
  const std::vector<double> sent = sent_on_fast_ranks(lengths);
  std::vector<double> sent_by_node(kFastNodes, 0);
  for (std::size_t rank = 0; rank < sent.size(); ++rank) sent_by_node[rank / kFastRanks] += sent[rank];
  EXPECT_LT(most_over_mean(sent_by_node), 2);
}

// Whole sequences fill most ranks of a node, so that its home tokens are on few, whose cards alone carry what these send.
TEST(Ballast, NoCardSendsFarMoreThanTheOthers) {
  std::vector<std::int64_t> lengths{100000, 40000, 40000, 40000, 30000, 30000};
  for (int i = 0; i < 430; ++i) lengths.push_back(4300 + 7 * i % 101);
  EXPECT_LT(most_over_mean(sent_on_fast_ranks(lengths)), 4);
}

}  // namespace
}  // namespace ballast::scheduler
