#include "scheduler/remap/balanced_homes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>

#include "scheduler/make_plan.h"
#include "scheduler/plan/layout.h"
#include "scheduler/policy/registry.h"

namespace ballast::scheduler {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Tokens = std::vector<std::int64_t>;
using Homes = std::vector<std::vector<Chunk>>;

Topology cluster(int num_nodes, int num_ranks, int num_nics) {
  Node node;
  node.num_ranks = num_ranks;
  node.num_nics = num_nics;
  return uniform_topology(num_nodes, node);
}

/// What crosses nodes, and the most that one card sends or receives of it.
struct Traffic {
  std::int64_t crossing = 0;
  double most_per_card = 0;
};

Traffic traffic_of(const std::vector<Transfer>& moves, const Topology& topology) {
  Traffic traffic;
  std::vector<double> sent(topology.nic_groups.size(), 0), received(sent);
  for (const Transfer& move : moves) {
    if (topology.node_of_rank[move.src] == topology.node_of_rank[move.dst]) continue;
    traffic.crossing += move.num_rows;
    sent[topology.nic_group_of_rank[move.src]] += static_cast<double>(move.num_rows);
    received[topology.nic_group_of_rank[move.dst]] += static_cast<double>(move.num_rows);
  }
  for (std::size_t g = 0; g < sent.size(); ++g) {
    traffic.most_per_card = std::max(traffic.most_per_card, std::max(sent[g], received[g]) / topology.nic_groups[g].num_nics);
  }
  return traffic;
}

/// The least of both over all ways to move whole tokens: cards are compared among the ways with least crossing.
Traffic least_traffic(const Tokens& tokens, const Tokens& targets, const Topology& topology) {
  Tokens surplus, deficit;
  for (std::size_t r = 0; r < tokens.size(); ++r) {
    surplus.push_back(std::max<std::int64_t>(0, tokens[r] - targets[r]));
    deficit.push_back(std::max<std::int64_t>(0, targets[r] - tokens[r]));
  }
  Traffic best{1 << 30, 1e30};
  std::vector<Transfer> moves;
  const int num_ranks = static_cast<int>(tokens.size());
  const std::function<void(int, int)> visit = [&](int src, int dst) {
    while (src < num_ranks && surplus[src] == 0) {
      ++src;
      dst = 0;
    }
    if (src == num_ranks) {
      const Traffic traffic = traffic_of(moves, topology);
      if (traffic.crossing < best.crossing || (traffic.crossing == best.crossing && traffic.most_per_card < best.most_per_card)) {
        best = traffic;
      }
      return;
    }
    if (dst == num_ranks) return;
    for (std::int64_t rows = std::min(surplus[src], deficit[dst]); rows >= 0; --rows) {
      surplus[src] -= rows;
      deficit[dst] -= rows;
      moves.push_back({src, dst, rows});
      visit(src, dst + 1);
      moves.pop_back();
      surplus[src] += rows;
      deficit[dst] += rows;
    }
  };
  visit(0, 0);
  return best;
}

/// Tokens by sequence and position, to compare whole layouts.
std::vector<Chunk> sorted_tokens(const Homes& homes) {
  std::vector<Chunk> tokens;
  for (const std::vector<Chunk>& home : homes) {
    for (const Chunk& chunk : home) {
      for (std::int64_t t = chunk.begin; t < chunk.end; ++t) tokens.push_back({chunk.sequence, t, t + 1});
    }
  }
  std::sort(tokens.begin(), tokens.end(), [](const Chunk& a, const Chunk& b) {
    return a.sequence != b.sequence ? a.sequence < b.sequence : a.begin < b.begin;
  });
  return tokens;
}

Tokens counts(const Homes& homes) {
  Tokens tokens;
  for (const std::vector<Chunk>& home : homes) tokens.push_back(num_tokens(home));
  return tokens;
}

TEST(Remap, TargetsGiveTheSpareTokensToTheFullest) {
  const Topology topology = cluster(2, 2, 1);
  EXPECT_THAT(balanced_targets(Tokens{5, 1, 7, 2}, Remap::kCluster, topology), ElementsAre(4, 3, 4, 4));
  EXPECT_THAT(balanced_targets(Tokens{5, 2, 7, 3}, Remap::kNode, topology), ElementsAre(4, 3, 5, 5));
  EXPECT_THAT(balanced_targets(Tokens{5, 1, 7, 2}, Remap::kOff, topology), ElementsAre(5, 1, 7, 2));
  // Ties by rank.
  EXPECT_THAT(balanced_targets(Tokens{3, 3, 0, 0}, Remap::kCluster, topology), ElementsAre(2, 2, 1, 1));
}

TEST(Remap, WorkedExampleNodesFirstThenCards) {
  // Node 0 (ranks 0 to 3, two on each of two cards) has 30 too many on rank 0, 10 on ranks 1 and 2 and 20 too few on rank 3, so
  // 30 cross. Card 0 could give 40, card 1 has only 10: it sends all of them, as 15 each is not to be had; card 0 sends 20, 10
  // from each of its ranks. The rest of rank 0 stays in the node. Node 1 is short of 30 on rank 5 and 10 on rank 6, and rank 7
  // has 10 too many: card 1 receives the 10 that it has room for, card 0 the other 20.
  const Topology topology = cluster(2, 4, 2);
  const Tokens tokens{130, 110, 110, 80, 100, 70, 90, 110}, targets{100, 100, 100, 100, 100, 100, 100, 100};
  const std::vector<Transfer> moves = remap_moves(tokens, targets, topology);
  const Traffic traffic = traffic_of(moves, topology);
  EXPECT_EQ(traffic.crossing, 30);
  EXPECT_EQ(traffic.most_per_card, 20);
  EXPECT_THAT(moves,
              ElementsAre(Transfer{0, 3, 20}, Transfer{0, 5, 10}, Transfer{1, 5, 10}, Transfer{2, 6, 10}, Transfer{7, 5, 10}));
}

TEST(Remap, WholeChunksTravelAndOneIsCut) {
  const Homes homes{{{0, 0, 10}, {1, 0, 4}, {2, 0, 3}, {3, 5, 6}}, {{4, 0, 2}}};
  // 5 tokens: the chunk of 4 and the chunk of 1 fit.
  EXPECT_THAT(
      moved_homes(homes, std::vector<Transfer>{{0, 1, 5}}),
      ElementsAre(ElementsAre(Chunk{0, 0, 10}, Chunk{2, 0, 3}), ElementsAre(Chunk{4, 0, 2}, Chunk{1, 0, 4}, Chunk{3, 5, 6})));
  // 6 tokens: 4 and 1 fit, and the smallest of the rest gives its last token.
  EXPECT_THAT(moved_homes(homes, std::vector<Transfer>{{0, 1, 6}}),
              ElementsAre(ElementsAre(Chunk{0, 0, 10}, Chunk{2, 0, 2}),
                          ElementsAre(Chunk{4, 0, 2}, Chunk{1, 0, 4}, Chunk{3, 5, 6}, Chunk{2, 2, 3})));
}

TEST(Remap, RefusesWithNumbers) {
  const auto message = [](const auto& call) {
    try {
      call();
    } catch (const std::invalid_argument& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  const Topology topology = cluster(1, 2, 1);
  EXPECT_THAT(message([&] {
                remap_moves(Tokens{3, 4}, Tokens{3, 5}, topology);
              }),
              HasSubstr("7 tokens on 2 ranks are to become 8 on 2 ranks, in a cluster of 2"));
  EXPECT_THAT(message([&] {
                moved_homes({{{0, 0, 3}}, {}}, std::vector<Transfer>{{0, 1, 4}});
              }),
              HasSubstr("rank 0 is to give 4 tokens, but has 3"));
  EXPECT_THAT(message([] { remap_from("nodes"); }), HasSubstr("unknown value 'nodes'; known: off, node, cluster"));
}

TEST(Remap, NothingToDo) {
  const Topology topology = cluster(2, 2, 1);
  EXPECT_THAT(remap_moves(Tokens{2, 2, 2, 2}, Tokens{2, 2, 2, 2}, topology), IsEmpty());
  const Homes homes{{{0, 0, 5}}, {}, {}, {{1, 0, 2}}};
  EXPECT_EQ(balanced_homes(homes, Remap::kOff, topology), homes);
  EXPECT_EQ(balanced_homes({{}, {}, {}, {}}, Remap::kCluster, topology), (Homes{{}, {}, {}, {}}));
}

TEST(Remap, TinyCasesAreOptimal) {
  EXPECT_TRUE(rc::check("least tokens across nodes, then least on the fullest card: as by trying everything", [] {
    // A node with a choice of whom to send from: two to four ranks; and up to two other nodes of one or two.
    Topology topology;
    const auto add_node = [&](int least_ranks, int most_ranks) {
      Node node;
      node.num_ranks = least_ranks + *rc::gen::resize(100, rc::gen::inRange(0, most_ranks - least_ranks + 1));
      node.num_nics = *rc::gen::resize(100, rc::gen::inRange(1, 4));
      topology.nodes.push_back(node);
    };
    add_node(2, 4);
    add_node(1, 2);
    if (*rc::gen::arbitrary<bool>()) add_node(1, 1);
    number_ranks(topology);
    const auto any_tokens = rc::gen::container<Tokens>(topology.num_ranks(), rc::gen::inRange<std::int64_t>(0, 7));
    const Tokens tokens = *rc::gen::resize(100, any_tokens);
    Tokens targets = balanced_targets(tokens, Remap::kCluster, topology);
    if (*rc::gen::arbitrary<bool>()) {
      targets = tokens;
      std::rotate(targets.begin(), targets.begin() + 1, targets.end());
    }
    const std::vector<Transfer> moves = remap_moves(tokens, targets, topology);
    const Traffic got = traffic_of(moves, topology), best = least_traffic(tokens, targets, topology);
    RC_ASSERT(got.crossing == best.crossing);
    RC_ASSERT(got.most_per_card == best.most_per_card);
  }));
}

TEST(Remap, EveryTokenOnceAndTargetsMet) {
  EXPECT_TRUE(rc::check("any homes, any cluster", [] {
    Topology topology;
    for (int n = *rc::gen::inRange(1, 6); n > 0; --n) {
      Node node;
      node.num_ranks = *rc::gen::inRange(1, 9);
      node.num_nics = *rc::gen::inRange(0, 9);
      topology.nodes.push_back(node);
    }
    number_ranks(topology);
    const int num_ranks = topology.num_ranks();
    Homes homes(num_ranks);
    const int num_chunks = *rc::gen::inRange(0, 60);
    for (int c = 0; c < num_chunks; ++c) {
      const std::int64_t begin = *rc::gen::inRange(0, 5);
      homes[*rc::gen::inRange(0, num_ranks)].push_back({c, begin, begin + *rc::gen::inRange<std::int64_t>(1, 50)});
    }
    const Remap remap = *rc::gen::element(Remap::kOff, Remap::kNode, Remap::kCluster);
    const Tokens tokens = counts(homes), targets = balanced_targets(tokens, remap, topology);
    const std::vector<Transfer> moves = remap_moves(tokens, targets, topology);
    RC_ASSERT(static_cast<int>(moves.size()) <= 2 * num_ranks - 1);
    std::vector<std::int64_t> excess(topology.num_nodes(), 0);
    for (int r = 0; r < num_ranks; ++r) excess[topology.node_of_rank[r]] += tokens[r] - targets[r];
    std::int64_t crossing = 0, expected = 0, moved = 0, surplus = 0;
    for (const Transfer& move : moves) {
      RC_ASSERT(move.num_rows > 0 && move.src != move.dst);
      moved += move.num_rows;
      crossing += topology.node_of_rank[move.src] != topology.node_of_rank[move.dst] ? move.num_rows : 0;
    }
    for (const std::int64_t e : excess) expected += std::abs(e);
    for (int r = 0; r < num_ranks; ++r) surplus += std::max<std::int64_t>(0, tokens[r] - targets[r]);
    RC_ASSERT(2 * crossing == expected);
    RC_ASSERT(moved == surplus);

    const Homes balanced = balanced_homes(homes, remap, topology);
    RC_ASSERT(counts(balanced) == targets);
    RC_ASSERT(sorted_tokens(balanced) == sorted_tokens(homes));
    // A cut for each move at most.
    std::size_t before = 0, after = 0;
    for (int r = 0; r < num_ranks; ++r) {
      before += homes[r].size();
      after += balanced[r].size();
    }
    RC_ASSERT(after <= before + moves.size());
    if (remap == Remap::kCluster && num_ranks > 0) {
      const auto [least, most] = std::minmax_element(targets.begin(), targets.end());
      RC_ASSERT(*most - *least <= 1);
    }
  }));
}

TEST(Remap, PlansHoldEqualTokensOutsideAttention) {
  PlanRequest request;
  request.lengths = {90, 10, 10, 10, 33, 7, 1};
  request.topology = cluster(2, 2, 1);
  request.model.num_layers = 1;
  request.model.num_attention_heads = 2;
  request.options.policy = "longest_first";
  const Plan off = make_plan(request);
  request.options.remap = Remap::kCluster;
  const Plan on = make_plan(request);
  EXPECT_EQ(on.micro_batches[0].work, off.micro_batches[0].work);
  EXPECT_THAT(counts(on.micro_batches[0].homes), testing::UnorderedElementsAre(41, 40, 40, 40));
  EXPECT_EQ(sorted_tokens(on.micro_batches[0].homes), sorted_tokens(off.micro_batches[0].homes));
  request.options.remap = Remap::kNode;
  const Tokens by_node = counts(make_plan(request).micro_batches[0].homes);
  EXPECT_LE(std::abs(by_node[0] - by_node[1]), 1);
  EXPECT_LE(std::abs(by_node[2] - by_node[3]), 1);
  const Tokens before = counts(off.micro_batches[0].homes);
  EXPECT_EQ(by_node[0] + by_node[1], before[0] + before[1]);
  // Whatever the policy, the plan is valid (make_plan looks) and has the same work.
  for (const Policy& policy : policies()) {
    request.options.policy = policy.name;
    request.options.remap = Remap::kOff;
    const Plan without = make_plan(request);
    for (const Remap remap : {Remap::kNode, Remap::kCluster}) {
      request.options.remap = remap;
      EXPECT_EQ(make_plan(request).micro_batches[0].work, without.micro_batches[0].work) << policy.name;
    }
  }
}

}  // namespace
}  // namespace ballast::scheduler
