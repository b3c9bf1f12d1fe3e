#include "scheduler/plan/expand.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <numeric>

#include "scheduler/make_plan.h"
#include "scheduler/plan/layout.h"
#include "scheduler/plan/validate.h"
#include "scheduler/policy/registry.h"
#include "tests/scheduler/plan/random_micro_batch.h"
#include "tests/scheduler/plan/symbolic_attention.h"

namespace ballast::scheduler {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const AttentionExchange& find(const RankAttention& attention, Stage stage, int queue, int round) {
  for (const AttentionExchange& exchange : attention.exchanges) {
    if (exchange.stage == stage && exchange.queue == queue && exchange.round == round) return exchange;
  }
  static const AttentionExchange none;
  return none;
}

/// Stage, queue and round of every exchange.
std::vector<std::tuple<Stage, int, int>> order_of(const RankAttention& attention) {
  std::vector<std::tuple<Stage, int, int>> order;
  for (const AttentionExchange& exchange : attention.exchanges)
    order.emplace_back(exchange.stage, exchange.queue, exchange.round);
  return order;
}

using Event = std::tuple<Stage, int, int>;

/// Seven tokens on a ring of three on two nodes, homes where attention is; one head.
MicroBatch ring_of_seven() {
  MicroBatch micro_batch;
  micro_batch.sequences = {0};
  micro_batch.work = {Ring{0, {0, 1, 2}, {3, 2, 2}}};
  micro_batch.homes = {{{0, 0, 2}, {0, 6, 7}}, {{0, 2, 3}, {0, 5, 6}}, {{0, 3, 5}}};
  return micro_batch;
}

TEST(Expand, SevenTokensOnARingOfThreeForward) {
  const AttentionExpansion expansion(ring_of_seven(), {1, 1}, {0, 0, 1});
  EXPECT_EQ(expansion.num_queues(), 3);
  const RankAttention one = expansion.rank(1, Pass::kForward);
  EXPECT_THAT(one.tasks, ElementsAre(BlockTask{0, 0, 0, 1, 1, 3}, BlockTask{0, 1, 0, 1, 0, 4}, BlockTask{0, 2, 0, 1, 2, 2}));
  EXPECT_THAT(order_of(one), ElementsAre(Event{Stage::kDispatch, 0, 0}, Event{Stage::kRotate, 0, 1}, Event{Stage::kRotate, 0, 2},
                                         Event{Stage::kReturn, 0, 0}));
  const std::vector<Parcel> dispatch{{Payload::kQuery, 0, 1, 1, 1, {0, 2, 3}, 1},
                                     {Payload::kQuery, 0, 1, 1, 1, {0, 5, 6}, 1},
                                     {Payload::kKeyValue, 0, 1, 1, 1, {0, 2, 3}, 2},
                                     {Payload::kKeyValue, 0, 1, 1, 1, {0, 5, 6}, 2}};
  EXPECT_EQ(one.exchanges[0].sends, dispatch);
  EXPECT_EQ(one.exchanges[0].receives, dispatch);
  EXPECT_THAT(one.exchanges[1].sends, ElementsAre(Parcel{Payload::kKeyValue, 0, 1, 1, 2, {0, 2, 3}, 2},
                                                  Parcel{Payload::kKeyValue, 0, 1, 1, 2, {0, 5, 6}, 2}));
  EXPECT_THAT(one.exchanges[1].receives, ElementsAre(Parcel{Payload::kKeyValue, 0, 0, 0, 1, {0, 0, 2}, 4},
                                                     Parcel{Payload::kKeyValue, 0, 0, 0, 1, {0, 6, 7}, 2}));
  EXPECT_THAT(one.exchanges[2].sends, ElementsAre(Parcel{Payload::kKeyValue, 0, 0, 1, 2, {0, 0, 2}, 4},
                                                  Parcel{Payload::kKeyValue, 0, 0, 1, 2, {0, 6, 7}, 2}));
  EXPECT_THAT(one.exchanges[2].receives, ElementsAre(Parcel{Payload::kKeyValue, 0, 2, 0, 1, {0, 3, 5}, 4}));
  EXPECT_THAT(one.exchanges[3].receives, ElementsAre(Parcel{Payload::kOutput, 0, 1, 1, 1, {0, 2, 3}, 1},
                                                     Parcel{Payload::kOutput, 0, 1, 1, 1, {0, 5, 6}, 1}));
  EXPECT_THAT(expansion.rank(0, Pass::kForward).tasks,
              ElementsAre(BlockTask{0, 0, 0, 0, 0, 6}, BlockTask{0, 1, 0, 0, 2, 2}, BlockTask{0, 2, 0, 0, 1, 2}));
  EXPECT_THAT(expansion.rank(2, Pass::kForward).tasks,
              ElementsAre(BlockTask{0, 0, 0, 2, 2, 3}, BlockTask{0, 1, 0, 2, 1, 2}, BlockTask{0, 2, 0, 2, 0, 4}));
}

TEST(Expand, SevenTokensOnARingOfThreeBackward) {
  const AttentionExpansion expansion(ring_of_seven(), {1, 1}, {0, 0, 1});
  const RankAttention one = expansion.rank(1, Pass::kBackward);
  EXPECT_EQ(one.tasks, expansion.rank(1, Pass::kForward).tasks);
  EXPECT_THAT(order_of(one), ElementsAre(Event{Stage::kDispatch, 0, 0}, Event{Stage::kRotate, 0, 1}, Event{Stage::kRotate, 0, 2},
                                         Event{Stage::kRotateGradients, 0, 2}, Event{Stage::kRotateGradients, 0, 3},
                                         Event{Stage::kReturn, 0, 0}));
  EXPECT_THAT(one.exchanges[0].receives, ElementsAre(Parcel{Payload::kOutputGradient, 0, 1, 1, 1, {0, 2, 3}, 1},
                                                     Parcel{Payload::kOutputGradient, 0, 1, 1, 1, {0, 5, 6}, 1}));
  // After round 1 member 1 has begun the sum of block 0, and member 0 that of block 2.
  EXPECT_THAT(one.exchanges[3].sends, ElementsAre(Parcel{Payload::kKeyValueGradient, 0, 0, 1, 2, {0, 0, 2}, 4},
                                                  Parcel{Payload::kKeyValueGradient, 0, 0, 1, 2, {0, 6, 7}, 2}));
  EXPECT_THAT(one.exchanges[3].receives, ElementsAre(Parcel{Payload::kKeyValueGradient, 0, 2, 0, 1, {0, 3, 5}, 4}));
  // After round 2 sums go home: block 2 to the next member, block 1 from the member before.
  EXPECT_THAT(one.exchanges[4].sends, ElementsAre(Parcel{Payload::kKeyValueGradient, 0, 2, 1, 2, {0, 3, 5}, 4}));
  EXPECT_THAT(one.exchanges[4].receives, ElementsAre(Parcel{Payload::kKeyValueGradient, 0, 1, 0, 1, {0, 2, 3}, 2},
                                                     Parcel{Payload::kKeyValueGradient, 0, 1, 0, 1, {0, 5, 6}, 2}));
  EXPECT_THAT(one.exchanges[5].sends, ElementsAre(Parcel{Payload::kQueryGradient, 0, 1, 1, 1, {0, 2, 3}, 1},
                                                  Parcel{Payload::kQueryGradient, 0, 1, 1, 1, {0, 5, 6}, 1},
                                                  Parcel{Payload::kKeyValueGradient, 0, 1, 1, 1, {0, 2, 3}, 2},
                                                  Parcel{Payload::kKeyValueGradient, 0, 1, 1, 1, {0, 5, 6}, 2}));
}

TEST(Expand, ForeignKeysAreNeitherDispatchedNorReturned) {
  const AttentionExpansion expansion(ring_of_seven(), {1, 1}, {0, 0, 1});
  for (int rank = 0; rank < 3; ++rank) {
    for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
      const RankAttention own = expansion.rank(rank, pass, KeyValueUse::kOwn);
      const RankAttention foreign = expansion.rank(rank, pass, KeyValueUse::kForeign);
      EXPECT_EQ(foreign.tasks, own.tasks);
      ASSERT_EQ(order_of(foreign), order_of(own));
      for (std::size_t i = 0; i < own.exchanges.size(); ++i) {
        AttentionExchange wanted = own.exchanges[i];
        if (wanted.stage == Stage::kDispatch || wanted.stage == Stage::kReturn) {
          const auto is_of_keys = [](const Parcel& parcel) {
            return parcel.payload == Payload::kKeyValue || parcel.payload == Payload::kKeyValueGradient;
          };
          std::erase_if(wanted.sends, is_of_keys);
          std::erase_if(wanted.receives, is_of_keys);
        }
        EXPECT_EQ(foreign.exchanges[i], wanted);
      }
    }
  }
}

/// Members hold tokens {0}, {1, 2, 4} and {3}.
TEST(Expand, ABlockGoesNoFartherThanTheLastMemberThatSeesIt) {
  MicroBatch micro_batch;
  micro_batch.sequences = {0};
  micro_batch.work = {Ring{0, {0, 1, 2}, {1, 3, 1}}};
  micro_batch.homes = {{{0, 0, 5}}, {}, {}};
  const AttentionExpansion expansion(micro_batch, {1, 1}, {0, 0, 0});
  const int queue = 0;  // nothing crosses nodes: the node queue is the first
  EXPECT_EQ(expansion.num_queues(), 2);
  const RankAttention zero = expansion.rank(0, Pass::kBackward);
  const RankAttention one = expansion.rank(1, Pass::kBackward);
  const RankAttention two = expansion.rank(2, Pass::kBackward);
  const auto keys = [](Payload payload, int member, int src, int dst, std::int64_t begin, std::int64_t end) {
    return Parcel{payload, 0, member, src, dst, {0, begin, end}, 2 * (end - begin)};
  };
  // Token 0 is seen by everyone. Tokens 1, 2 and 4 are seen by member 2 and not by member 0. Token 3 is seen by member 1 only,
  // to which member 0 passes it.
  EXPECT_THAT(find(two, Stage::kRotate, queue, 1).receives,
              ElementsAre(keys(Payload::kKeyValue, 1, 1, 2, 1, 3), keys(Payload::kKeyValue, 1, 1, 2, 4, 5)));
  EXPECT_THAT(find(zero, Stage::kRotate, queue, 1).receives, ElementsAre(keys(Payload::kKeyValue, 2, 2, 0, 3, 4)));
  EXPECT_THAT(find(zero, Stage::kRotate, queue, 2).sends, ElementsAre(keys(Payload::kKeyValue, 2, 0, 1, 3, 4)));
  EXPECT_THAT(find(zero, Stage::kRotate, queue, 2).receives, IsEmpty());
  EXPECT_THAT(zero.tasks, ElementsAre(BlockTask{0, 0, 0, 0, 0, 1}));
  EXPECT_THAT(one.tasks, ElementsAre(BlockTask{0, 0, 0, 1, 1, 6}, BlockTask{0, 1, 0, 1, 0, 3}, BlockTask{0, 2, 0, 1, 2, 1}));
  EXPECT_THAT(two.tasks, ElementsAre(BlockTask{0, 0, 0, 2, 2, 1}, BlockTask{0, 1, 0, 2, 1, 2}, BlockTask{0, 2, 0, 2, 0, 1}));
  // Sums of tokens 1, 2 and 4 go straight back from member 2 after round 1; token 3's from member 1 after round 2.
  EXPECT_THAT(find(one, Stage::kRotateGradients, queue, 2).receives,
              ElementsAre(keys(Payload::kKeyValueGradient, 1, 2, 1, 1, 3), keys(Payload::kKeyValueGradient, 1, 2, 1, 4, 5)));
  EXPECT_THAT(find(two, Stage::kRotateGradients, queue, 3).receives,
              ElementsAre(keys(Payload::kKeyValueGradient, 2, 1, 2, 3, 4)));
  EXPECT_THAT(find(zero, Stage::kRotateGradients, queue, 2).sends, IsEmpty());
  EXPECT_THAT(find(zero, Stage::kRotateGradients, queue, 3).receives,
              ElementsAre(keys(Payload::kKeyValueGradient, 0, 2, 0, 0, 1)));
}

/// Eight tokens cut by head over two nodes of two ranks, two tokens at home on each rank. Query heads 0 and 1 read key head 0,
/// heads 2 and 3 key head 1.
TEST(Expand, HeadRingOverTwoNodes) {
  MicroBatch micro_batch;
  micro_batch.sequences = {0};
  micro_batch.work = {HeadRing{0, {{0, 3, 0, 1, 1, {0, 1}, {4, 4}}, {3, 4, 0, 1, 1, {2, 3}, {6, 2}}}}};
  micro_batch.homes = {{{0, 0, 2}}, {{0, 2, 4}}, {{0, 4, 6}}, {{0, 6, 8}}};
  const AttentionExpansion expansion(micro_batch, {4, 2}, {0, 0, 1, 1});
  ASSERT_EQ(expansion.slices().size(), 3u);  // heads [0, 2), [2, 3), [3, 4)
  EXPECT_EQ(expansion.num_queues(), 4);
  EXPECT_EQ(expansion.queue(0), 0);
  EXPECT_EQ(expansion.queue(1), 1);
  EXPECT_EQ(expansion.queue(2), 0);

  const RankAttention zero = expansion.rank(0, Pass::kForward);
  EXPECT_THAT(order_of(zero),
              ElementsAre(Event{Stage::kDispatch, 0, 0}, Event{Stage::kDispatch, 1, 0}, Event{Stage::kRotate, 0, 1},
                          Event{Stage::kRotate, 1, 1}, Event{Stage::kReturn, 0, 0}, Event{Stage::kReturn, 1, 0}));
  // Member 0 of the first part holds tokens 0, 1, 6, 7; of the second 0, 1, 2, 5, 6, 7.
  EXPECT_THAT(
      zero.exchanges[0].sends,
      ElementsAre(Parcel{Payload::kQuery, 0, 0, 0, 0, {0, 0, 2}, 4}, Parcel{Payload::kKeyValue, 0, 0, 0, 0, {0, 0, 2}, 4},
                  Parcel{Payload::kQuery, 2, 0, 0, 2, {0, 0, 2}, 2}, Parcel{Payload::kKeyValue, 2, 0, 0, 2, {0, 0, 2}, 4}));
  EXPECT_THAT(
      zero.exchanges[0].receives,
      ElementsAre(Parcel{Payload::kQuery, 0, 0, 0, 0, {0, 0, 2}, 4}, Parcel{Payload::kKeyValue, 0, 0, 0, 0, {0, 0, 2}, 4},
                  Parcel{Payload::kQuery, 0, 0, 3, 0, {0, 6, 8}, 4}, Parcel{Payload::kKeyValue, 0, 0, 3, 0, {0, 6, 8}, 4}));
  EXPECT_THAT(
      zero.exchanges[1].receives,
      ElementsAre(Parcel{Payload::kQuery, 1, 0, 0, 0, {0, 0, 2}, 2}, Parcel{Payload::kKeyValue, 1, 0, 0, 0, {0, 0, 2}, 4},
                  Parcel{Payload::kQuery, 1, 0, 3, 0, {0, 6, 8}, 2}, Parcel{Payload::kKeyValue, 1, 0, 3, 0, {0, 6, 8}, 4}));
  EXPECT_THAT(zero.exchanges[3].receives, ElementsAre(Parcel{Payload::kKeyValue, 1, 1, 1, 0, {0, 2, 6}, 8}));
  EXPECT_THAT(zero.exchanges[4].receives, ElementsAre(Parcel{Payload::kOutput, 0, 0, 0, 0, {0, 0, 2}, 4},
                                                      Parcel{Payload::kOutput, 2, 0, 2, 0, {0, 0, 2}, 2}));
  // Queries 0, 1, 6, 7 on keys 0, 1, 6, 7: 1 + 2 + 3 + 4; on keys 2 to 5: 4 + 4.
  EXPECT_THAT(zero.tasks, ElementsAre(BlockTask{0, 0, 0, 0, 0, 10}, BlockTask{0, 1, 0, 0, 1, 8}, BlockTask{1, 0, 1, 0, 0, 10},
                                      BlockTask{1, 1, 1, 0, 1, 8}));

  const RankAttention three = expansion.rank(3, Pass::kBackward);
  EXPECT_THAT(find(three, Stage::kReturn, 0, 0).sends, ElementsAre(Parcel{Payload::kQueryGradient, 2, 1, 3, 1, {0, 3, 4}, 1},
                                                                   Parcel{Payload::kKeyValueGradient, 2, 1, 3, 1, {0, 3, 4}, 2},
                                                                   Parcel{Payload::kQueryGradient, 2, 1, 3, 2, {0, 4, 5}, 1},
                                                                   Parcel{Payload::kKeyValueGradient, 2, 1, 3, 2, {0, 4, 5}, 2}));
}

TEST(Expand, TheFirstRotationOfAQueueStartsBeforeTheQueueBeforeItEnds) {
  MicroBatch micro_batch;
  micro_batch.sequences = {0, 1};
  micro_batch.work = {Ring{0, {0, 1, 2}, {4, 4, 4}}, Ring{1, {0, 1}, {4, 4}}};
  micro_batch.homes = {{{0, 0, 12}, {1, 0, 8}}, {}, {}};
  const AttentionExpansion expansion(micro_batch, {1, 1}, {0, 0, 1});
  EXPECT_THAT(order_of(expansion.rank(0, Pass::kBackward)),
              ElementsAre(Event{Stage::kDispatch, 0, 0}, Event{Stage::kDispatch, 1, 0}, Event{Stage::kRotate, 0, 1},
                          Event{Stage::kRotate, 0, 2}, Event{Stage::kRotateGradients, 0, 2}, Event{Stage::kRotate, 1, 1},
                          Event{Stage::kRotateGradients, 0, 3}, Event{Stage::kReturn, 0, 0}, Event{Stage::kRotateGradients, 1, 2},
                          Event{Stage::kReturn, 1, 0}));
}

TEST(Expand, TasksFetchTheirKeysFromHomes) {
  MicroBatch micro_batch;
  micro_batch.sequences = {0};
  micro_batch.work = {TaskSet{{{0, 0, {{0, 0, 3}}}, {0, 1, {{0, 3, 4}, {0, 5, 6}}}, {0, 0, {{0, 4, 5}}}}}};
  micro_batch.homes = {{{0, 0, 2}}, {{0, 2, 6}}};
  const AttentionExpansion expansion(micro_batch, {2, 1}, {0, 0});
  const RankAttention zero = expansion.rank(0, Pass::kForward);
  // Its two tasks are one slice: keys 0 to 4 come once.
  EXPECT_THAT(zero.tasks, ElementsAre(BlockTask{0, 0, 0, 0, 0, 11}));
  EXPECT_THAT(find(zero, Stage::kDispatch, 0, 0).receives,
              ElementsAre(Parcel{Payload::kQuery, 0, 0, 0, 0, {0, 0, 2}, 4}, Parcel{Payload::kKeyValue, 0, 0, 0, 0, {0, 0, 2}, 4},
                          Parcel{Payload::kQuery, 0, 0, 1, 0, {0, 2, 3}, 2}, Parcel{Payload::kQuery, 0, 0, 1, 0, {0, 4, 5}, 2},
                          Parcel{Payload::kKeyValue, 0, 0, 1, 0, {0, 2, 5}, 6}));
  EXPECT_THAT(find(zero, Stage::kDispatch, 0, 0).sends,
              ElementsAre(Parcel{Payload::kQuery, 0, 0, 0, 0, {0, 0, 2}, 4}, Parcel{Payload::kKeyValue, 0, 0, 0, 0, {0, 0, 2}, 4},
                          Parcel{Payload::kKeyValue, 1, 0, 0, 1, {0, 0, 2}, 4}));
  // Gradients of the keys of rank 0 come from both slices.
  EXPECT_THAT(find(expansion.rank(0, Pass::kBackward), Stage::kReturn, 0, 0).receives,
              ElementsAre(Parcel{Payload::kQueryGradient, 0, 0, 0, 0, {0, 0, 2}, 4},
                          Parcel{Payload::kKeyValueGradient, 0, 0, 0, 0, {0, 0, 2}, 4},
                          Parcel{Payload::kKeyValueGradient, 1, 0, 1, 0, {0, 0, 2}, 4}));
}

TEST(Expand, AllGatherAndHeadAllToAll) {
  MicroBatch micro_batch;
  micro_batch.sequences = {0, 1};
  micro_batch.work = {AllGather{{0}, {0, 1}, {{{0, 0, 1}, {0, 3, 4}}, {{0, 1, 3}}}},
                      HeadAllToAll{{1}, {0, 1}, {1, 3}, {{{1, 0, 2}}, {{1, 2, 4}}}}};
  micro_batch.homes = {{{0, 0, 1}, {0, 3, 4}, {1, 0, 2}}, {{0, 1, 3}, {1, 2, 4}}};
  const AttentionExpansion expansion(micro_batch, {4, 2}, {0, 0});
  // Slices: all heads of sequence 0 on rank 0, then on rank 1; head 0 of sequence 1 on rank 0, heads 1 to 3 on rank 1.
  const RankAttention zero = expansion.rank(0, Pass::kForward);
  EXPECT_THAT(zero.tasks, ElementsAre(BlockTask{0, 0, 0, 0, 0, 5}, BlockTask{0, 0, 2, 0, 0, 10}));
  EXPECT_THAT(expansion.rank(1, Pass::kForward).tasks, ElementsAre(BlockTask{0, 0, 1, 0, 0, 5}, BlockTask{0, 0, 3, 0, 0, 10}));
  const std::vector<Parcel>& sends = find(zero, Stage::kDispatch, 0, 0).sends;
  const std::vector<Parcel> to_one(std::find_if(sends.begin(), sends.end(), [](const Parcel& p) { return p.dst == 1; }),
                                   sends.end());
  EXPECT_THAT(to_one,
              ElementsAre(Parcel{Payload::kKeyValue, 1, 0, 0, 1, {0, 0, 1}, 4}, Parcel{Payload::kQuery, 3, 0, 0, 1, {1, 0, 2}, 6},
                          Parcel{Payload::kKeyValue, 3, 0, 0, 1, {1, 0, 2}, 8}));
}

/// Every member of an equal ring gets the keys of all others, and sums of gradients of all blocks but the one that it begins.
TEST(Expand, RowsOfARing) {
  for (const int members : {2, 3, 5, 8}) {
    const std::int64_t length = 64 * members + 5;
    Ring ring{0, {}, equal_shares(length, members)};
    MicroBatch micro_batch;
    micro_batch.sequences = {0};
    for (const auto& chunks : zigzag_chunks(0, ring.shares)) {
      ring.ranks.push_back(static_cast<int>(ring.ranks.size()));
      micro_batch.homes.emplace_back(chunks.begin(), chunks.end());
    }
    micro_batch.work = {ring};
    const AttentionExpansion expansion(micro_batch, {8, 2}, std::vector<int>(members, 0));
    for (int i = 0; i < members; ++i) {
      const std::int64_t own = ring.shares[i], before = ring.shares[(i + members - 1) % members];
      for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
        const RankAttention attention = expansion.rank(i, pass);
        EXPECT_EQ(received_rows(attention, Stage::kRotate), 2 * 2 * (length - own));
        EXPECT_EQ(received_rows(attention, Stage::kRotateGradients), pass == Pass::kForward ? 0 : 2 * 2 * (length - before));
        EXPECT_EQ(received_rows(attention, Stage::kDispatch) + received_rows(attention, Stage::kReturn), 0);
      }
    }
  }
}

/// A layer that makes its keys, one that reads them, and both backward.
void execute(const MicroBatch& micro_batch, HeadCounts heads, const std::vector<int>& node_of_rank) {
  const AttentionExpansion expansion(micro_batch, heads, node_of_rank);
  SymbolicAttention attention(micro_batch, heads, expansion);
  attention.forward(KeyValueUse::kOwn);
  attention.forward(KeyValueUse::kForeign);
  attention.backward(KeyValueUse::kForeign);
  attention.backward(KeyValueUse::kOwn);
}

TEST(Expand, AnyWorkIsComputedExactlyOnceWithWhatIsThere) {
  EXPECT_TRUE(rc::check("all outputs and gradients come home complete, whatever the kinds of work, members and homes", [] {
    const RandomMicroBatch random =
        random_micro_batch(*rc::gen::noShrink(rc::gen::arbitrary<std::uint64_t>()), *rc::gen::inRange<std::int64_t>(1, 40));
    const int num_ranks = static_cast<int>(random.node_of_rank.size());
    validate(random.plan, {num_ranks, 1, 0, random.heads.query});
    execute(random.plan.micro_batches[0], random.heads, random.node_of_rank);
  }));
}

TEST(Expand, PlansOfEveryPolicyAreComputedExactlyOnce) {
  for (const Policy& policy : policies()) {
    EXPECT_TRUE(rc::check(std::string("plans of ") + policy.name, [&] {
      const int num_nodes = *rc::gen::inRange(1, 4);
      Node node;
      node.num_ranks = *rc::gen::inRange(1, 5);
      PlanRequest request;
      request.topology = uniform_topology(num_nodes, node);
      request.topology.message_seconds = *rc::gen::element(0.0, 1e-5);
      ModelShape& model = request.model;
      model.vocab_size = 10;
      model.hidden_size = model.head_dim = 16;
      model.num_layers = model.num_dense_layers = 1;
      model.num_attention_heads = 4;
      model.num_key_value_heads = *rc::gen::element(1, 2, 4);
      model.intermediate_size = 16;
      request.lengths = *rc::gen::element(std::vector<std::int64_t>{1}, std::vector<std::int64_t>{1, 1, 1},
                                          std::vector<std::int64_t>{7}, std::vector<std::int64_t>{61, 2, 3, 1},
                                          std::vector<std::int64_t>{40, 40, 9}, std::vector<std::int64_t>{97},
                                          *rc::gen::container<std::vector<std::int64_t>>(rc::gen::inRange<std::int64_t>(1, 48)));
      std::int64_t total = 0;
      for (const std::int64_t length : request.lengths) total += length;
      const std::int64_t num_ranks = request.topology.num_ranks();
      const std::int64_t budget = (total + num_ranks - 1) / num_ranks;
      request.options.policy = policy.name;
      request.options.tokens_per_rank = std::max<std::int64_t>(1, budget);
      request.options.token_cap_per_rank = *rc::gen::element<std::int64_t>(0, budget + 2, 2 * budget);
      Plan plan;
      try {
        plan = make_plan(request);
      } catch (const InfeasiblePlan&) {
        RC_DISCARD("the policy keeps documents whole");
      }
      for (const MicroBatch& micro_batch : plan.micro_batches) {
        execute(micro_batch, {4, static_cast<int>(model.num_key_value_heads)}, request.topology.node_of_rank);
      }
    })) << policy.name;
  }
}

}  // namespace
}  // namespace ballast::scheduler
