#include "tests/scheduler/plan/random_micro_batch.h"

#include <algorithm>
#include <random>

#include "scheduler/make_plan.h"
#include "scheduler/plan/kv_sources.h"
#include "scheduler/plan/layout.h"

namespace ballast::scheduler {

namespace {

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : generator_(seed) {}
  /// A number of [low, high].
  template <typename Int>
  Int roll(Int low, Int high) {
    return low + static_cast<Int>(generator_() % static_cast<std::uint64_t>(high - low + 1));
  }
  template <typename Item>
  void shuffle(std::vector<Item>& items) {
    for (std::size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[roll<std::size_t>(0, i - 1)]);
  }
  /// Some ranks in any order, at least one.
  std::vector<int> members(int num_ranks) {
    std::vector<int> ranks;
    for (int r = 0; r < num_ranks; ++r) ranks.push_back(r);
    shuffle(ranks);
    ranks.resize(roll(1, num_ranks));
    return ranks;
  }
  /// Shares of any size, zeros included, or equal ones.
  std::vector<std::int64_t> shares(std::int64_t length, std::size_t num_members) {
    if (roll(0, 1) == 0) return equal_shares(length, static_cast<int>(num_members));
    std::vector<std::int64_t> weights;
    for (std::size_t i = 0; i < num_members; ++i) weights.push_back(roll(0, 4));
    return proportional_shares(length, weights);
  }
  /// Whole sequences cut anywhere and dealt to `num_lists` lists.
  std::vector<std::vector<Chunk>> deal(const std::vector<std::int64_t>& sequences, const std::vector<std::int64_t>& lengths,
                                       std::size_t num_lists) {
    std::vector<std::vector<Chunk>> lists(num_lists);
    for (const std::int64_t s : sequences) {
      for (std::int64_t at = 0; at < lengths[s];) {
        const std::int64_t end = std::min(lengths[s], at + roll<std::int64_t>(1, lengths[s]));
        lists[roll<std::size_t>(0, num_lists - 1)].push_back({s, at, end});
        at = end;
      }
    }
    for (std::vector<Chunk>& list : lists) shuffle(list);
    return lists;
  }

 private:
  std::mt19937_64 generator_;
};

HeadRing random_head_ring(Dice& dice, std::int64_t sequence, std::int64_t length, int num_heads, int num_ranks) {
  HeadRing ring;
  ring.sequence = sequence;
  for (int head = 0; head < num_heads;) {
    HeadPart part;
    part.head_begin = head;
    head = part.head_end = dice.roll(head + 1, num_heads);
    part.num_query_blocks = dice.roll(1, 4);
    for (int block = 0; block < part.num_query_blocks;) {
      part.query_block_begin = block;
      block = part.query_block_end = dice.roll(block + 1, part.num_query_blocks);
      part.ranks = dice.members(num_ranks);
      part.shares = dice.shares(length, part.ranks.size());
      ring.parts.push_back(part);
    }
  }
  return ring;
}

AttentionWork random_pack(Dice& dice, const std::vector<std::int64_t>& sequences, const std::vector<std::int64_t>& lengths,
                          int num_heads, int num_ranks) {
  const std::vector<int> ranks = dice.members(num_ranks);
  switch (dice.roll(0, 2)) {
    case 0:
      return AllGather{sequences, ranks, dice.deal(sequences, lengths, ranks.size())};
    case 1: {
      HeadAllToAll result{sequences, ranks, std::vector<int>(ranks.size(), 0), dice.deal(sequences, lengths, ranks.size())};
      for (int head = 0; head < num_heads; ++head) ++result.num_heads[dice.roll<std::size_t>(0, ranks.size() - 1)];
      return result;
    }
    default: {
      TaskSet set;
      for (const std::vector<Chunk>& chunks : dice.deal(sequences, lengths, 4)) {
        const int rank = dice.roll(0, num_ranks - 1);
        for (const Chunk& chunk : chunks) set.tasks.push_back({chunk.sequence, rank, {chunk}});
      }
      return set;
    }
  }
}

}  // namespace

RandomMicroBatch random_micro_batch(std::uint64_t seed, std::int64_t longest) {
  Dice dice(seed);
  RandomMicroBatch result;
  for (int node = dice.roll(0, 2); node >= 0; --node) {
    const std::size_t num_ranks = result.node_of_rank.size() + dice.roll<std::size_t>(1, 3);
    result.node_of_rank.resize(num_ranks, 2 - node);
  }
  const int num_ranks = static_cast<int>(result.node_of_rank.size());
  const HeadCounts head_counts[] = {{1, 1}, {4, 4}, {4, 2}, {6, 1}, {6, 3}, {5, 5}};
  result.heads = head_counts[dice.roll(0, 5)];
  Plan& plan = result.plan;
  MicroBatch micro_batch;
  for (int s = dice.roll(0, 3); s >= 0; --s) {
    micro_batch.sequences.push_back(static_cast<std::int64_t>(plan.lengths.size()));
    plan.lengths.push_back(dice.roll<std::int64_t>(1, dice.roll(0, 3) == 0 ? 3 : longest));
  }
  for (std::size_t at = 0; at < plan.lengths.size();) {
    const std::int64_t s = micro_batch.sequences[at];
    const int kind = dice.roll(0, 4);
    if (kind == 0) {
      Ring ring{s, dice.members(num_ranks), {}};
      ring.shares = dice.shares(plan.lengths[s], ring.ranks.size());
      micro_batch.work.push_back(std::move(ring));
      ++at;
    } else if (kind == 1) {
      micro_batch.work.push_back(random_head_ring(dice, s, plan.lengths[s], result.heads.query, num_ranks));
      ++at;
    } else {
      const std::size_t end = dice.roll(at + 1, plan.lengths.size());
      const std::vector<std::int64_t> sequences(micro_batch.sequences.begin() + static_cast<std::ptrdiff_t>(at),
                                                micro_batch.sequences.begin() + static_cast<std::ptrdiff_t>(end));
      micro_batch.work.push_back(random_pack(dice, sequences, plan.lengths, result.heads.query, num_ranks));
      at = end;
    }
  }
  micro_batch.homes = dice.deal(micro_batch.sequences, plan.lengths, static_cast<std::size_t>(num_ranks));
  micro_batch.kv_source_layer = kv_sources(1);
  plan.micro_batches.push_back(std::move(micro_batch));
  plan.ranks.assign(num_ranks, training_program(1));
  return result;
}

}  // namespace ballast::scheduler
