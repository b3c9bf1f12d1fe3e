#include "scheduler/plan/attention_slices.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <tuple>
#include <utility>

#include "scheduler/plan/layout.h"

namespace ballast::scheduler {

namespace {

/// One past the last token of a list.
std::int64_t end_of(const std::vector<Chunk>& chunks) { return chunks.empty() ? 0 : chunks.back().end; }

/// Zigzag positions as chunks of a slice.
std::vector<std::vector<Chunk>> zigzag_lists(std::int64_t sequence, const std::vector<std::int64_t>& shares) {
  std::vector<std::vector<Chunk>> lists;
  lists.reserve(shares.size());
  for (const auto& pair : zigzag_chunks(sequence, shares)) lists.push_back(joined({pair[0], pair[1]}));
  return lists;
}

/// Queries of every member of a part: what its query blocks hold together, cut zigzag in proportion to the shares.
std::vector<std::vector<Chunk>> part_queries(std::int64_t sequence, const HeadPart& part) {
  if (part.query_block_begin == 0 && part.query_block_end == part.num_query_blocks) return zigzag_lists(sequence, part.shares);
  const std::int64_t length = std::accumulate(part.shares.begin(), part.shares.end(), std::int64_t{0});
  const auto blocks = zigzag_chunks(sequence, equal_shares(length, part.num_query_blocks));
  // Adjacent blocks are a run of heads and the mirrored run of tails.
  const Chunk head{sequence, blocks[part.query_block_begin][0].begin, blocks[part.query_block_end - 1][0].end};
  const Chunk tail{sequence, blocks[part.query_block_end - 1][1].begin, blocks[part.query_block_begin][1].end};
  const std::int64_t head_size = head.end - head.begin;
  const std::vector<std::int64_t> shares = proportional_shares(head_size + tail.end - tail.begin, part.shares);
  std::vector<std::vector<Chunk>> lists;
  lists.reserve(shares.size());
  for (const auto& pair : zigzag_chunks(sequence, shares)) {
    std::vector<Chunk> chunks;
    for (const Chunk& chunk : pair) {  // positions in the two runs, one after the other
      const std::int64_t border = std::clamp(head_size, chunk.begin, chunk.end);
      chunks.push_back({sequence, head.begin + chunk.begin, head.begin + border});
      chunks.push_back({sequence, tail.begin + border - head_size, tail.begin + chunk.end - head_size});
    }
    lists.push_back(joined(std::move(chunks)));
  }
  return lists;
}

/// Leaves out keys that no query sees, and members that then have nothing.
void trim(AttentionSlice& slice) {
  std::int64_t end = 0;
  for (const std::vector<Chunk>& queries : slice.queries) end = std::max(end, end_of(queries));
  std::size_t kept = 0;
  for (std::size_t i = 0; i < slice.ranks.size(); ++i) {
    std::vector<Chunk>& keys = slice.keys[i];
    while (!keys.empty() && keys.back().begin >= end) keys.pop_back();
    if (!keys.empty()) keys.back().end = std::min(keys.back().end, end);
    if (keys.empty() && slice.queries[i].empty()) continue;
    if (kept != i) {
      slice.ranks[kept] = slice.ranks[i];
      slice.queries[kept] = std::move(slice.queries[i]);
      slice.keys[kept] = std::move(slice.keys[i]);
    }
    ++kept;
  }
  slice.ranks.resize(kept);
  slice.queries.resize(kept);
  slice.keys.resize(kept);
}

/// Key/value heads that the query heads of a part read.
int num_key_heads(const HeadPart& part, HeadCounts heads) {
  const int per_key = heads.query / heads.key_value;
  return (part.head_end - 1) / per_key + 1 - part.head_begin / per_key;
}

bool contains(const std::vector<int>& ranks, int rank) { return std::find(ranks.begin(), ranks.end(), rank) != ranks.end(); }

/// Flags by sequence; the list grows as far as there are flags.
void set_flag(std::vector<bool>& flags, std::int64_t sequence) {
  if (static_cast<std::size_t>(sequence) >= flags.size()) flags.resize(static_cast<std::size_t>(sequence) + 1);
  flags[static_cast<std::size_t>(sequence)] = true;
}
bool has_flag(const std::vector<bool>& flags, std::int64_t sequence) {
  return static_cast<std::size_t>(sequence) < flags.size() && flags[static_cast<std::size_t>(sequence)];
}

std::vector<bool> sequences_at_home(const MicroBatch& micro_batch, int rank) {
  std::vector<bool> flags;
  for (const Chunk& chunk : micro_batch.homes[static_cast<std::size_t>(rank)]) set_flag(flags, chunk.sequence);
  return flags;
}

class SliceMaker {
 public:
  SliceMaker(const MicroBatch& micro_batch, HeadCounts heads, const std::vector<int>& node_of_rank, const HomeIndex& homes,
             int max_slices_per_part, std::optional<int> only_rank)
      : heads_(heads),
        node_of_rank_(node_of_rank),
        max_slices_per_part_(std::max(1, max_slices_per_part)),
        only_rank_(only_rank),
        homes_(homes) {
    if (only_rank) at_home_ = sequences_at_home(micro_batch, *only_rank);
  }

  void operator()(const Ring& ring) {
    if (!concerns(ring.sequence, ring.ranks)) return;
    AttentionSlice slice = all_heads(ring.sequence);
    slice.ranks = ring.ranks;
    slice.queries = zigzag_lists(ring.sequence, ring.shares);
    slice.keys = slice.queries;
    add(std::move(slice));
  }
  void operator()(const HeadRing& ring) {
    for (const HeadPart& part : ring.parts) {
      if (!concerns(ring.sequence, part.ranks)) continue;
      AttentionSlice slice;
      slice.sequence = ring.sequence;
      slice.ranks = part.ranks;
      slice.queries = part_queries(ring.sequence, part);
      slice.keys = zigzag_lists(ring.sequence, part.shares);
      trim(slice);
      if (slice.ranks.empty()) continue;  // more query blocks than tokens
      slice.zone = zone(slice);
      const int per_key = heads_.query / heads_.key_value;
      const int key_begin = part.head_begin / per_key;
      const int num_keys = num_key_heads(part, heads_);
      const int num_slices = std::min(max_slices_per_part_, num_keys);
      for (int j = 0; j < num_slices; ++j) {
        slice.wave = j;
        slice.head_begin = std::max(part.head_begin, (key_begin + j * num_keys / num_slices) * per_key);
        slice.head_end = std::min(part.head_end, (key_begin + (j + 1) * num_keys / num_slices) * per_key);
        slices_.push_back(slice);
      }
    }
  }
  void operator()(const AllGather& gather) {
    for (std::size_t i = 0; i < gather.ranks.size(); ++i) {
      std::map<std::int64_t, std::vector<Chunk>> by_sequence;
      for (const Chunk& chunk : gather.queries[i]) by_sequence[chunk.sequence].push_back(chunk);
      for (auto& [sequence, chunks] : by_sequence) add_alone(all_heads(sequence), gather.ranks[i], std::move(chunks));
    }
  }
  void operator()(const HeadAllToAll& all_to_all) {
    std::map<std::int64_t, std::vector<Chunk>> by_sequence;
    for (const std::vector<Chunk>& chunks : all_to_all.tokens) {
      for (const Chunk& chunk : chunks) by_sequence[chunk.sequence].push_back(chunk);
    }
    for (auto& [sequence, chunks] : by_sequence) {
      chunks = joined(std::move(chunks));
      AttentionSlice slice;
      slice.sequence = sequence;
      for (std::size_t i = 0; i < all_to_all.ranks.size(); ++i) {
        slice.head_begin = slice.head_end;
        slice.head_end = slice.head_begin + all_to_all.num_heads[i];
        if (slice.head_begin < slice.head_end) add_alone(slice, all_to_all.ranks[i], chunks);
      }
    }
  }
  void operator()(const TaskSet& set) {
    std::map<std::pair<int, std::int64_t>, std::vector<Chunk>> by_place;
    for (const AttentionTask& task : set.tasks) {
      std::vector<Chunk>& chunks = by_place[{task.rank, task.sequence}];
      chunks.insert(chunks.end(), task.queries.begin(), task.queries.end());
    }
    for (auto& [place, chunks] : by_place) add_alone(all_heads(place.second), place.first, std::move(chunks));
  }

  std::vector<AttentionSlice> sorted() {
    const auto key = [](const AttentionSlice& slice) {
      std::int64_t first = std::numeric_limits<std::int64_t>::max();
      for (const std::vector<Chunk>& queries : slice.queries) {
        if (!queries.empty()) first = std::min(first, queries.front().begin);
      }
      return std::tuple(slice.zone, slice.sequence, slice.head_begin, first);
    };
    std::vector<std::pair<decltype(key(AttentionSlice{})), std::size_t>> order;
    order.reserve(slices_.size());
    for (std::size_t i = 0; i < slices_.size(); ++i) order.emplace_back(key(slices_[i]), i);
    std::sort(order.begin(), order.end());
    std::vector<AttentionSlice> result;
    result.reserve(slices_.size());
    for (const auto& entry : order) result.push_back(std::move(slices_[entry.second]));
    return result;
  }

 private:
  AttentionSlice all_heads(std::int64_t sequence) const {
    AttentionSlice slice;
    slice.sequence = sequence;
    slice.head_end = heads_.query;
    return slice;
  }
  /// Queries of one sequence on one rank that has all the keys they see.
  void add_alone(AttentionSlice slice, int rank, std::vector<Chunk> queries) {
    if (!concerns(slice.sequence, {rank})) return;
    queries = joined(std::move(queries));
    if (queries.empty()) return;
    slice.ranks = {rank};
    slice.keys = {{{slice.sequence, 0, end_of(queries)}}};
    slice.queries = {std::move(queries)};
    slice.zone = zone(slice);
    slices_.push_back(std::move(slice));
  }
  void add(AttentionSlice slice) {
    trim(slice);
    slice.zone = zone(slice);
    slices_.push_back(std::move(slice));
  }

  bool concerns(std::int64_t sequence, const std::vector<int>& ranks) const {
    return !only_rank_ || has_flag(at_home_, sequence) || contains(ranks, *only_rank_);
  }

  Zone zone(const AttentionSlice& slice) const {
    Zone farthest = Zone::kLocal;
    const auto reach = [&](int a, int b) {  // false once nothing can be farther
      if (a != b) farthest = std::min(farthest, node_of_rank_[a] == node_of_rank_[b] ? Zone::kNode : Zone::kCluster);
      return farthest != Zone::kCluster;
    };
    for (std::size_t i = 0; i < slice.ranks.size(); ++i) {
      const int rank = slice.ranks[i];
      if (!reach(rank, slice.ranks.front())) return farthest;
      const auto home = [&](std::int64_t, std::int64_t, int at) { return reach(rank, at); };
      for (const Chunk& chunk : slice.queries[i]) {
        if (!homes_.visit_parts(chunk, home)) return farthest;
      }
      if (slice.keys[i] == slice.queries[i]) continue;
      for (const Chunk& chunk : slice.keys[i]) {
        if (!homes_.visit_parts(chunk, home)) return farthest;
      }
    }
    return farthest;
  }

  HeadCounts heads_;
  const std::vector<int>& node_of_rank_;
  int max_slices_per_part_;
  std::optional<int> only_rank_;
  std::vector<bool> at_home_;  ///< by sequence: the one rank is a home
  const HomeIndex& homes_;
  std::vector<AttentionSlice> slices_;
};

}  // namespace

std::vector<AttentionSlice> attention_slices(const MicroBatch& micro_batch, HeadCounts heads,
                                             const std::vector<int>& node_of_rank, const HomeIndex& homes,
                                             int max_slices_per_part, std::optional<int> only_rank) {
  SliceMaker maker(micro_batch, heads, node_of_rank, homes, max_slices_per_part, only_rank);
  for (const AttentionWork& work : micro_batch.work) std::visit(maker, work);
  return maker.sorted();
}

std::vector<AttentionSlice> attention_slices(const MicroBatch& micro_batch, HeadCounts heads,
                                             const std::vector<int>& node_of_rank, int max_slices_per_part) {
  return attention_slices(micro_batch, heads, node_of_rank, HomeIndex(micro_batch), max_slices_per_part, std::nullopt);
}

int most_waves(const MicroBatch& micro_batch, HeadCounts heads) {
  int result = 1;
  for (const AttentionWork& work : micro_batch.work) {
    if (const auto* ring = std::get_if<HeadRing>(&work)) {
      for (const HeadPart& part : ring->parts) {
        result = std::max(result, std::min(kMostSlicesPerPart, num_key_heads(part, heads)));
      }
    }
  }
  return result;
}

std::vector<bool> sequences_of_rank(const MicroBatch& micro_batch, int rank) {
  std::vector<bool> flags = sequences_at_home(micro_batch, rank);
  struct Marker {
    int rank;
    std::vector<bool>& flags;
    void operator()(const Ring& ring) const {
      if (contains(ring.ranks, rank)) set_flag(flags, ring.sequence);
    }
    void operator()(const HeadRing& ring) const {
      for (const HeadPart& part : ring.parts) {
        if (contains(part.ranks, rank)) return set_flag(flags, ring.sequence);
      }
    }
    void operator()(const AllGather& gather) const {
      for (std::size_t i = 0; i < gather.ranks.size(); ++i) {
        if (gather.ranks[i] != rank) continue;
        for (const Chunk& chunk : gather.queries[i]) set_flag(flags, chunk.sequence);
      }
    }
    void operator()(const HeadAllToAll& all_to_all) const {
      if (!contains(all_to_all.ranks, rank)) return;
      for (const std::vector<Chunk>& chunks : all_to_all.tokens) {
        for (const Chunk& chunk : chunks) set_flag(flags, chunk.sequence);
      }
    }
    void operator()(const TaskSet& set) const {
      for (const AttentionTask& task : set.tasks) {
        if (task.rank == rank) set_flag(flags, task.sequence);
      }
    }
  };
  for (const AttentionWork& work : micro_batch.work) std::visit(Marker{rank, flags}, work);
  return flags;
}

int key_head_begin(const AttentionSlice& slice, HeadCounts heads) { return slice.head_begin / (heads.query / heads.key_value); }

int key_head_end(const AttentionSlice& slice, HeadCounts heads) {
  return (slice.head_end - 1) / (heads.query / heads.key_value) + 1;
}

bool sees(const std::vector<Chunk>& queries, const std::vector<Chunk>& keys) {
  return !queries.empty() && !keys.empty() && queries.back().end > keys.front().begin;
}

std::int64_t num_visible_pairs(const std::vector<Chunk>& queries, const std::vector<Chunk>& keys) {
  std::int64_t pairs = 0;
  for (const Chunk& query : queries) {
    for (const Chunk& key : keys) {
      if (query.end <= key.begin) break;
      // Queries inside the chunk see a growing part of it, those behind it all of it.
      const std::int64_t first = std::max(query.begin, key.begin);
      const std::int64_t full = std::clamp(key.end, first, query.end);
      pairs += (full - first) * (first - key.begin) + (full - first) * (full - first + 1) / 2;
      pairs += (query.end - full) * (key.end - key.begin);
    }
  }
  return pairs;
}

}  // namespace ballast::scheduler
