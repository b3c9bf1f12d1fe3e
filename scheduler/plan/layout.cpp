#include "scheduler/plan/layout.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>

namespace ballast::scheduler {

std::vector<std::int64_t> equal_shares(std::int64_t length, int num_members) {
  const std::int64_t num_chunks = 2 * static_cast<std::int64_t>(num_members);
  const std::int64_t quotient = length / num_chunks;
  const std::int64_t rest = length % num_chunks;
  std::vector<std::int64_t> shares(num_members);
  for (int i = 0; i < num_members; ++i) {
    shares[i] = 2 * quotient + (i < rest ? 1 : 0) + (num_chunks - 1 - i < rest ? 1 : 0);
  }
  return shares;
}

std::vector<std::int64_t> proportional_shares(std::int64_t total, std::span<const std::int64_t> weights) {
  std::vector<std::int64_t> shares(weights.size(), 0);
  if (weights.empty()) return shares;
  const std::int64_t sum = std::accumulate(weights.begin(), weights.end(), std::int64_t{0});
  if (sum <= 0) {
    shares[0] = total;
    return shares;
  }
  std::vector<std::pair<std::int64_t, int>> remainders;  // negative remainder first, then position: largest first when sorted
  std::int64_t given = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const __int128 product = static_cast<__int128>(total) * weights[i];
    shares[i] = static_cast<std::int64_t>(product / sum);
    given += shares[i];
    remainders.emplace_back(-static_cast<std::int64_t>(product % sum), static_cast<int>(i));
  }
  std::sort(remainders.begin(), remainders.end());
  for (std::int64_t i = 0; i < total - given; ++i) ++shares[remainders[i].second];
  return shares;
}

std::vector<std::array<Chunk, 2>> zigzag_chunks(std::int64_t sequence, std::span<const std::int64_t> shares) {
  std::vector<std::array<Chunk, 2>> chunks(shares.size());
  std::int64_t at = 0;
  for (std::size_t i = 0; i < shares.size(); ++i) {
    const std::int64_t size = (shares[i] + 1) / 2;
    chunks[i][0] = {sequence, at, at + size};
    at += size;
  }
  for (std::size_t i = shares.size(); i-- > 0;) {
    const std::int64_t size = shares[i] / 2;
    chunks[i][1] = {sequence, at, at + size};
    at += size;
  }
  return chunks;
}

void append_chunk(std::vector<Chunk>& chunks, const Chunk& chunk) {
  if (chunk.begin == chunk.end) return;
  if (!chunks.empty() && chunks.back().sequence == chunk.sequence && chunks.back().end == chunk.begin) {
    chunks.back().end = chunk.end;
  } else {
    chunks.push_back(chunk);
  }
}

void append_chunks(const Ring& ring, std::vector<std::vector<Chunk>>& homes) {
  const auto chunks = zigzag_chunks(ring.sequence, ring.shares);
  for (std::size_t i = 0; i < ring.ranks.size(); ++i) {
    for (const Chunk& chunk : chunks[i]) append_chunk(homes[ring.ranks[i]], chunk);
  }
}

std::int64_t num_pairs(const Chunk& chunk) {
  const std::int64_t size = chunk.end - chunk.begin;
  return size * chunk.begin + size * (size + 1) / 2;
}

std::int64_t num_tokens(std::span<const Chunk> chunks) {
  std::int64_t total = 0;
  for (const Chunk& chunk : chunks) total += chunk.end - chunk.begin;
  return total;
}

std::vector<Chunk> joined(std::vector<Chunk> chunks) {
  std::sort(chunks.begin(), chunks.end(), [](const Chunk& a, const Chunk& b) { return a.begin < b.begin; });
  std::size_t kept = 0;
  for (const Chunk& chunk : chunks) {
    if (chunk.begin == chunk.end) continue;
    if (kept > 0 && chunks[kept - 1].end == chunk.begin) {
      chunks[kept - 1].end = chunk.end;
    } else {
      chunks[kept++] = chunk;
    }
  }
  chunks.resize(kept);
  return chunks;
}

std::vector<Chunk> query_block_chunks(std::int64_t sequence, std::int64_t length, int block, int num_blocks) {
  const std::array<Chunk, 2> pair = zigzag_chunks(sequence, equal_shares(length, num_blocks))[block];
  return joined({pair[0], pair[1]});
}

namespace {

/// Calls visit(rank, half_tokens) for every holding of a piece of work; half_tokens counts halves of a token.
template <typename Visit>
void visit_holdings(const AttentionWork& work, const Visit& visit) {
  struct Visitor {
    const Visit& visit;
    void operator()(const Ring& ring) const {
      for (std::size_t i = 0; i < ring.ranks.size(); ++i) visit(ring.ranks[i], 2 * ring.shares[i]);
    }
    void operator()(const HeadRing& head_ring) const {
      int num_heads = 0;
      for (const HeadPart& part : head_ring.parts) num_heads = std::max(num_heads, part.head_end);
      if (num_heads == 0) return;
      for (const HeadPart& part : head_ring.parts) {
        const std::int64_t heads = part.head_end - part.head_begin;
        const std::int64_t blocks = part.num_query_blocks;
        const std::int64_t own_blocks = part.query_block_end - part.query_block_begin;
        for (std::size_t i = 0; i < part.ranks.size(); ++i) {
          // Queries and outputs of the own blocks are one half of a token each head; keys and values of all tokens the other
          // half.
          const std::int64_t numerator = part.shares[i] * heads * (own_blocks + blocks);
          visit(part.ranks[i], (numerator + num_heads * blocks - 1) / (num_heads * blocks));
        }
      }
    }
    void operator()(const AllGather& gather) const {
      for (std::size_t i = 0; i < gather.ranks.size(); ++i) visit(gather.ranks[i], 2 * num_tokens(gather.queries[i]));
    }
    void operator()(const HeadAllToAll& all_to_all) const {
      for (std::size_t i = 0; i < all_to_all.ranks.size(); ++i) visit(all_to_all.ranks[i], 2 * num_tokens(all_to_all.tokens[i]));
    }
    void operator()(const TaskSet& set) const {
      for (const AttentionTask& task : set.tasks) visit(task.rank, 2 * num_tokens(task.queries));
    }
  };
  std::visit(Visitor{visit}, work);
}

}  // namespace

std::int64_t attention_tokens(const AttentionWork& work, int rank) {
  std::int64_t halves = 0;
  visit_holdings(work, [&](int holder, std::int64_t half_tokens) { halves += holder == rank ? half_tokens : 0; });
  return (halves + 1) / 2;
}

void add_attention_tokens(const AttentionWork& work, std::vector<std::int64_t>& tokens_by_rank) {
  visit_holdings(work, [&](int holder, std::int64_t half_tokens) { tokens_by_rank[holder] += (half_tokens + 1) / 2; });
}

}  // namespace ballast::scheduler
