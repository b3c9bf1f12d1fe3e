#include "scheduler/policy/chunk_heap.h"

#include <fmt/format.h>

#include <algorithm>
#include <queue>

#include "scheduler/plan/layout.h"
#include "scheduler/policy/pack.h"

namespace ballast::scheduler {

namespace {

constexpr std::int64_t kChunkTokens = 512;

/// Consecutive tokens of the pack: parts of one document or of several.
struct PackChunk {
  std::vector<Chunk> parts;
  std::int64_t pairs = 0;
};

}  // namespace

Placement place_chunk_heap(const PlacementRequest& request) {
  require_room(request, "chunk_heap");
  Placement placement;
  const std::int64_t num_ranks = request.topology.num_ranks();
  const std::int64_t total = request.num_tokens();
  if (total == 0) return placement;
  const std::int64_t chunk_tokens = std::min(kChunkTokens, (total + num_ranks - 1) / num_ranks);
  const Pack pack(request.sequences, request.lengths);
  std::vector<PackChunk> chunks;
  for (std::int64_t at = 0; at < total; at += chunk_tokens) {
    PackChunk chunk{pack.cut(at, std::min(total, at + chunk_tokens)), 0};
    for (const Chunk& part : chunk.parts) chunk.pairs += num_pairs(part);
    chunks.push_back(std::move(chunk));
  }
  const std::int64_t num_chunks = static_cast<std::int64_t>(chunks.size());
  const std::int64_t most_chunks = (num_chunks + num_ranks - 1) / num_ranks;

  std::vector<std::size_t> order(chunks.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return chunks[a].pairs > chunks[b].pairs; });
  using Entry = std::pair<std::int64_t, int>;  // work, then id
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue;
  for (int r = 0; r < num_ranks; ++r) queue.emplace(0, r);
  std::vector<std::vector<std::size_t>> chunks_of(num_ranks);
  for (const std::size_t i : order) {
    const auto [pairs, rank] = queue.top();
    queue.pop();
    chunks_of[rank].push_back(i);
    if (static_cast<std::int64_t>(chunks_of[rank].size()) < most_chunks) queue.emplace(pairs + chunks[i].pairs, rank);
  }

  placement.homes.resize(num_ranks);
  TaskSet set;
  for (int r = 0; r < num_ranks; ++r) {
    std::sort(chunks_of[r].begin(), chunks_of[r].end());  // pack order: parts of a document follow each other
    std::vector<Chunk>& home = placement.homes[r];
    for (const std::size_t i : chunks_of[r]) {
      for (const Chunk& part : chunks[i].parts) append_chunk(home, part);
    }
    if (num_tokens(home) > request.token_cap) {
      throw InfeasiblePlan(fmt::format(
          "policy chunk_heap: rank {} would hold {} tokens ({} of {} chunks of {} tokens), but token_cap_per_rank is {}; "
          "raise the cap to {}",
          r, num_tokens(home), chunks_of[r].size(), num_chunks, chunk_tokens, request.token_cap, most_chunks * chunk_tokens));
    }
    for (const Chunk& chunk : home) {
      if (set.tasks.empty() || set.tasks.back().rank != r || set.tasks.back().sequence != chunk.sequence)
        set.tasks.push_back({chunk.sequence, r, {}});
      set.tasks.back().queries.push_back(chunk);
    }
  }
  placement.work.push_back(std::move(set));
  for (const std::int64_t s : request.sequences) placement.charged_tokens.push_back(request.lengths[s]);
  placement.charged_tokens.back() += num_chunks * chunk_tokens - total;
  return placement;
}

}  // namespace ballast::scheduler
