#include "scheduler/plan/attention_slices.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <map>
#include <set>
#include <tuple>

#include "scheduler/plan/expand.h"
#include "tests/scheduler/plan/random_micro_batch.h"

namespace ballast::scheduler {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

/// One piece of work on ranks 0 to 3 of two nodes; all tokens of every sequence are at home on rank 0.
MicroBatch at_home_on_rank_zero(AttentionWork work, const std::vector<std::int64_t>& lengths) {
  MicroBatch micro_batch;
  micro_batch.work = {std::move(work)};
  micro_batch.homes.resize(4);
  for (std::size_t s = 0; s < lengths.size(); ++s) {
    micro_batch.sequences.push_back(static_cast<std::int64_t>(s));
    micro_batch.homes[0].push_back({static_cast<std::int64_t>(s), 0, lengths[s]});
  }
  return micro_batch;
}

const std::vector<int> kNodes{0, 0, 1, 1};

TEST(AttentionSlices, RingJoinsChunksThatTouch) {
  const auto slices = attention_slices(at_home_on_rank_zero(Ring{0, {2, 0, 1}, {3, 2, 2}}, {7}), {4, 2}, kNodes);
  ASSERT_EQ(slices.size(), 1u);
  EXPECT_EQ(slices[0].head_end, 4);
  EXPECT_EQ(slices[0].zone, Zone::kCluster);
  EXPECT_THAT(slices[0].ranks, ElementsAre(2, 0, 1));
  EXPECT_THAT(slices[0].keys, ElementsAre(ElementsAre(Chunk{0, 0, 2}, Chunk{0, 6, 7}),
                                          ElementsAre(Chunk{0, 2, 3}, Chunk{0, 5, 6}), ElementsAre(Chunk{0, 3, 5})));
  EXPECT_EQ(slices[0].queries, slices[0].keys);
}

TEST(AttentionSlices, MembersWithoutTokensAreLeftOut) {
  const auto slices = attention_slices(at_home_on_rank_zero(Ring{0, {3, 1, 0, 2}, {0, 1, 1, 0}}, {2}), {1, 1}, kNodes);
  ASSERT_EQ(slices.size(), 1u);
  EXPECT_THAT(slices[0].ranks, ElementsAre(1, 0));
  EXPECT_EQ(slices[0].zone, Zone::kNode);
}

TEST(AttentionSlices, ZoneCountsTheWayFromHome) {
  const auto zone = [](int rank) {
    return attention_slices(at_home_on_rank_zero(Ring{0, {rank}, {5}}, {5}), {1, 1}, kNodes)[0].zone;
  };
  EXPECT_EQ(zone(0), Zone::kLocal);
  EXPECT_EQ(zone(1), Zone::kNode);
  EXPECT_EQ(zone(2), Zone::kCluster);
}

/// Heads of the slices of one part.
std::vector<std::pair<int, int>> cut(HeadPart part, HeadCounts heads, int max_slices) {
  part.ranks = {0};
  part.shares = {5};
  HeadRing ring{0, {part}};
  std::vector<std::pair<int, int>> result;
  for (const AttentionSlice& slice : attention_slices(at_home_on_rank_zero(ring, {5}), heads, kNodes, max_slices)) {
    EXPECT_EQ(slice.wave, static_cast<int>(result.size()));
    result.emplace_back(slice.head_begin, slice.head_end);
  }
  return result;
}

TEST(AttentionSlices, PartsAreCutWhereTheKeyHeadChanges) {
  using Cuts = std::vector<std::pair<int, int>>;
  EXPECT_EQ(cut({1, 8, 0, 1, 1, {}, {}}, {8, 8}, 4), (Cuts{{1, 2}, {2, 4}, {4, 6}, {6, 8}}));
  EXPECT_EQ(cut({1, 3, 0, 1, 1, {}, {}}, {8, 8}, 4), (Cuts{{1, 2}, {2, 3}}));
  EXPECT_EQ(cut({1, 8, 0, 1, 1, {}, {}}, {8, 8}, 1), (Cuts{{1, 8}}));
  EXPECT_EQ(cut({3, 12, 0, 1, 1, {}, {}}, {16, 4}, 4), (Cuts{{3, 4}, {4, 8}, {8, 12}}));
  EXPECT_EQ(cut({0, 16, 0, 1, 1, {}, {}}, {16, 1}, 4), (Cuts{{0, 16}}));
}

TEST(AttentionSlices, QueryBlocksOfAPart) {
  // Sixteen tokens in two query blocks: [0, 4) with [12, 16), and [4, 12).
  const HeadRing ring{0, {{0, 1, 0, 1, 2, {0, 1}, {8, 8}}, {0, 1, 1, 2, 2, {0, 1}, {12, 4}}}};
  const auto slices = attention_slices(at_home_on_rank_zero(ring, {16}), {1, 1}, kNodes);
  ASSERT_EQ(slices.size(), 2u);
  EXPECT_THAT(slices[0].queries,
              ElementsAre(ElementsAre(Chunk{0, 0, 2}, Chunk{0, 14, 16}), ElementsAre(Chunk{0, 2, 4}, Chunk{0, 12, 14})));
  EXPECT_THAT(slices[0].keys, ElementsAre(ElementsAre(Chunk{0, 0, 4}, Chunk{0, 12, 16}), ElementsAre(Chunk{0, 4, 12})));
  EXPECT_THAT(slices[1].queries, ElementsAre(ElementsAre(Chunk{0, 4, 7}, Chunk{0, 9, 12}), ElementsAre(Chunk{0, 7, 9})));
  // The queries of the second block end at token 11: keys 12 to 15 are not wanted.
  EXPECT_THAT(slices[1].keys, ElementsAre(ElementsAre(Chunk{0, 0, 6}, Chunk{0, 10, 12}), ElementsAre(Chunk{0, 6, 10})));
}

TEST(AttentionSlices, TasksOfOneRankAndSequenceAreOneSlice) {
  const TaskSet set{{{0, 1, {{0, 4, 6}}}, {0, 2, {{0, 0, 4}}}, {0, 1, {{0, 6, 7}, {0, 9, 10}}}, {0, 0, {{0, 7, 9}}}}};
  const auto slices = attention_slices(at_home_on_rank_zero(set, {10}), {3, 3}, kNodes);
  ASSERT_EQ(slices.size(), 3u);  // cluster, node, local
  EXPECT_THAT(slices[0].ranks, ElementsAre(2));
  EXPECT_THAT(slices[0].keys, ElementsAre(ElementsAre(Chunk{0, 0, 4})));
  EXPECT_THAT(slices[1].ranks, ElementsAre(1));
  EXPECT_THAT(slices[1].queries, ElementsAre(ElementsAre(Chunk{0, 4, 7}, Chunk{0, 9, 10})));
  EXPECT_THAT(slices[1].keys, ElementsAre(ElementsAre(Chunk{0, 0, 10})));
  EXPECT_THAT(slices[2].ranks, ElementsAre(0));
  EXPECT_THAT(slices[2].keys, ElementsAre(ElementsAre(Chunk{0, 0, 9})));
  EXPECT_EQ(slices[2].zone, Zone::kLocal);  // its queries 7, 8 and keys 0 to 8 are all at home there
}

TEST(AttentionSlices, PacksBecomeOneSlicePerMemberAndSequence) {
  const AllGather gather{{0, 1}, {0, 1}, {{{1, 0, 2}, {0, 0, 1}, {0, 3, 4}}, {{0, 1, 3}}}};
  const auto gathered = attention_slices(at_home_on_rank_zero(gather, {4, 2}), {2, 1}, kNodes);
  ASSERT_EQ(gathered.size(), 3u);
  EXPECT_THAT(gathered[0].ranks, ElementsAre(1));
  EXPECT_THAT(gathered[0].keys, ElementsAre(ElementsAre(Chunk{0, 0, 3})));
  EXPECT_THAT(gathered[1].queries, ElementsAre(ElementsAre(Chunk{0, 0, 1}, Chunk{0, 3, 4})));
  EXPECT_EQ(gathered[2].sequence, 1);

  const HeadAllToAll all_to_all{{0, 1}, {1, 3, 0}, {2, 0, 1}, {{{0, 0, 3}}, {{1, 0, 2}}, {{0, 3, 4}}}};
  const auto exchanged = attention_slices(at_home_on_rank_zero(all_to_all, {4, 2}), {3, 3}, kNodes);
  ASSERT_EQ(exchanged.size(), 4u);
  for (int s = 0; s < 2; ++s) {
    EXPECT_EQ(exchanged[s].sequence, s);
    EXPECT_THAT(exchanged[s].ranks, ElementsAre(1));
    EXPECT_EQ(exchanged[s].head_end, 2);
    EXPECT_THAT(exchanged[s + 2].ranks, ElementsAre(0));
    EXPECT_EQ(exchanged[s + 2].head_begin, 2);
    EXPECT_THAT(exchanged[s].queries, ElementsAre(ElementsAre(Chunk{s, 0, s == 0 ? 4 : 2})));
    EXPECT_EQ(exchanged[s].keys, exchanged[s].queries);
  }
}

TEST(AttentionSlices, AnEmptyMicroBatchHasNone) {
  EXPECT_THAT(attention_slices(at_home_on_rank_zero(AllGather{{}, {0, 1}, {{}, {}}}, {}), {1, 1}, kNodes), IsEmpty());
}

TEST(AttentionSlices, VisiblePairsAreCounted) {
  EXPECT_TRUE(rc::check("as one by one, and some exactly if sees() says so", [] {
    const auto list = [] {
      std::vector<Chunk> chunks;
      std::int64_t at = *rc::gen::inRange<std::int64_t>(0, 8);
      for (int i = *rc::gen::inRange(0, 4); i > 0; --i) {
        const std::int64_t end = at + *rc::gen::inRange<std::int64_t>(1, 6);
        chunks.push_back({0, at, end});
        at = end + *rc::gen::inRange<std::int64_t>(1, 6);
      }
      return chunks;
    };
    const std::vector<Chunk> queries = list(), keys = list();
    std::int64_t expected = 0;
    for (const Chunk& query : queries) {
      for (std::int64_t q = query.begin; q < query.end; ++q) {
        for (const Chunk& key : keys) {
          for (std::int64_t k = key.begin; k < key.end; ++k) expected += k <= q ? 1 : 0;
        }
      }
    }
    RC_ASSERT(num_visible_pairs(queries, keys) == expected);
    RC_ASSERT(sees(queries, keys) == (expected > 0));
  }));
}

TEST(AttentionSlices, FormOfAnySlice) {
  EXPECT_TRUE(rc::check("sorted, lists in form, no token twice, heads in range, no member without tokens", [] {
    const RandomMicroBatch random =
        random_micro_batch(*rc::gen::noShrink(rc::gen::arbitrary<std::uint64_t>()), *rc::gen::inRange<std::int64_t>(1, 200));
    const auto slices = attention_slices(random.plan.micro_batches[0], random.heads, random.node_of_rank);
    for (std::size_t i = 0; i < slices.size(); ++i) {
      const AttentionSlice& slice = slices[i];
      if (i > 0) {
        RC_ASSERT(std::tuple(slices[i - 1].zone, slices[i - 1].sequence, slices[i - 1].head_begin) <=
                  std::tuple(slice.zone, slice.sequence, slice.head_begin));
      }
      RC_ASSERT(0 <= slice.head_begin && slice.head_begin < slice.head_end && slice.head_end <= random.heads.query);
      RC_ASSERT(std::set<int>(slice.ranks.begin(), slice.ranks.end()).size() == slice.ranks.size());
      RC_ASSERT(slice.queries.size() == slice.ranks.size() && slice.keys.size() == slice.ranks.size());
      std::vector<int> num_queries(200), num_keys(200);
      std::int64_t last_query = -1;
      for (std::size_t member = 0; member < slice.ranks.size(); ++member) {
        RC_ASSERT(!slice.queries[member].empty() || !slice.keys[member].empty());
        for (const bool of_queries : {true, false}) {
          const std::vector<Chunk>& chunks = of_queries ? slice.queries[member] : slice.keys[member];
          for (std::size_t c = 0; c < chunks.size(); ++c) {
            RC_ASSERT(chunks[c].sequence == slice.sequence && chunks[c].begin < chunks[c].end);
            RC_ASSERT(c == 0 || chunks[c - 1].end < chunks[c].begin);
            for (std::int64_t t = chunks[c].begin; t < chunks[c].end; ++t) ++(of_queries ? num_queries : num_keys)[t];
            if (of_queries) last_query = std::max(last_query, chunks[c].end - 1);
          }
        }
      }
      RC_ASSERT(last_query >= 0);
      for (std::int64_t t = 0; t < 200; ++t) {
        RC_ASSERT(num_queries[t] <= 1);
        RC_ASSERT(num_keys[t] == (t <= last_query ? 1 : 0));
      }
    }
  }));
}

TEST(AttentionSlices, ZoneIsThatOfTheFarthestMessage) {
  EXPECT_TRUE(rc::check("of all parcels of a slice", [] {
    const RandomMicroBatch random =
        random_micro_batch(*rc::gen::noShrink(rc::gen::arbitrary<std::uint64_t>()), *rc::gen::inRange<std::int64_t>(1, 40));
    const AttentionExpansion expansion(random.plan.micro_batches[0], random.heads, random.node_of_rank);
    std::vector<Zone> farthest(expansion.slices().size(), Zone::kLocal);
    for (int rank = 0; rank < static_cast<int>(random.node_of_rank.size()); ++rank) {
      for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
        for (const AttentionExchange& exchange : expansion.rank(rank, pass).exchanges) {
          for (const Parcel& parcel : exchange.sends) {
            const bool is_one_node = random.node_of_rank[parcel.src] == random.node_of_rank[parcel.dst];
            const Zone zone = parcel.src == parcel.dst ? Zone::kLocal : is_one_node ? Zone::kNode : Zone::kCluster;
            farthest[parcel.slice] = std::min(farthest[parcel.slice], zone);
          }
        }
      }
    }
    for (std::size_t i = 0; i < farthest.size(); ++i) RC_ASSERT(farthest[i] == expansion.slices()[i].zone);
  }));
}

/// A rank's part with its slices and queues counted from zero in the order of `expansion`.
RankAttention renumbered(RankAttention part, const AttentionExpansion& expansion, int rank,
                         const std::vector<bool>& sequences_at_home) {
  std::map<int, int> slices, queues;
  for (int i = 0; i < static_cast<int>(expansion.slices().size()); ++i) {
    const AttentionSlice& slice = expansion.slices()[i];
    const bool is_member = std::find(slice.ranks.begin(), slice.ranks.end(), rank) != slice.ranks.end();
    if (is_member || sequences_at_home[slice.sequence]) slices.emplace(i, static_cast<int>(slices.size()));
  }
  for (const AttentionExchange& exchange : part.exchanges) queues.emplace(exchange.queue, 0);
  for (const BlockTask& task : part.tasks) queues.emplace(task.queue, 0);
  int count = 0;
  for (auto& [queue, number] : queues) number = count++;
  for (AttentionExchange& exchange : part.exchanges) {
    exchange.queue = queues.at(exchange.queue);
    for (Parcel& parcel : exchange.sends) parcel.slice = slices.at(parcel.slice);
    for (Parcel& parcel : exchange.receives) parcel.slice = slices.at(parcel.slice);
  }
  for (BlockTask& task : part.tasks) {
    task.queue = queues.at(task.queue);
    task.slice = slices.at(task.slice);
  }
  return part;
}

TEST(AttentionExpansion, ARankWithFewWavesHasTheOrderOfAll) {
  // Heads 0 to 2 on node 0 are three waves, head 3 on node 1 is one; node 1 has a ring besides.
  MicroBatch micro_batch;
  micro_batch.sequences = {0, 1};
  micro_batch.work = {HeadRing{0,
                               {HeadPart{.head_begin = 0, .head_end = 3, .ranks = {0, 1}, .shares = {4, 4}},
                                HeadPart{.head_begin = 3, .head_end = 4, .ranks = {2, 3}, .shares = {4, 4}}}},
                      Ring{1, {2, 3}, {4, 4}}};
  micro_batch.homes = {{{0, 0, 4}}, {}, {{0, 4, 8}, {1, 0, 4}}, {{1, 4, 8}}};
  const std::vector<int> node_of_rank{0, 0, 1, 1};
  const auto order_of = [](const RankAttention& attention) {
    std::vector<std::tuple<Stage, int, int>> order;
    for (const AttentionExchange& exchange : attention.exchanges)
      order.emplace_back(exchange.stage, exchange.queue, exchange.round);
    return order;
  };
  const AttentionExpansion all(micro_batch, {4, 4}, node_of_rank), one(micro_batch, {4, 4}, node_of_rank, 3);
  EXPECT_EQ(all.num_queues(), 5);
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) EXPECT_EQ(order_of(one.rank(3, pass)), order_of(all.rank(3, pass)));
}

TEST(AttentionExpansion, OfOneRankIsThatRanksPartOfAll) {
  EXPECT_TRUE(rc::check("the same exchanges and tasks in the same order", [] {
    const RandomMicroBatch random =
        random_micro_batch(*rc::gen::noShrink(rc::gen::arbitrary<std::uint64_t>()), *rc::gen::inRange<std::int64_t>(1, 60));
    const MicroBatch& micro_batch = random.plan.micro_batches[0];
    const AttentionExpansion all(micro_batch, random.heads, random.node_of_rank);
    for (int rank = 0; rank < static_cast<int>(random.node_of_rank.size()); ++rank) {
      const AttentionExpansion one(micro_batch, random.heads, random.node_of_rank, rank);
      std::vector<bool> sequences_at_home(random.plan.lengths.size());
      for (const Chunk& chunk : micro_batch.homes[rank]) sequences_at_home[chunk.sequence] = true;
      for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
        for (const KeyValueUse use : {KeyValueUse::kOwn, KeyValueUse::kForeign}) {
          RC_ASSERT(renumbered(one.rank(rank, pass, use), one, rank, sequences_at_home) ==
                    renumbered(all.rank(rank, pass, use), all, rank, sequences_at_home));
        }
      }
    }
  }));
}

}  // namespace
}  // namespace ballast::scheduler
