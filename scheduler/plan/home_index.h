#pragma once
// Which rank is home to a token.
#include <algorithm>
#include <cstdint>
#include <tuple>
#include <vector>

#include "scheduler/plan/plan.h"

namespace ballast::scheduler {

class HomeIndex {
 public:
  /// Cost: a pass over the homes' chunks, and sorting of each sequence's.
  explicit HomeIndex(const MicroBatch& micro_batch);
  /// Of flagged sequences alone; those beyond the list are not. Cost: a pass over all chunks, and sorting of theirs.
  HomeIndex(const MicroBatch& micro_batch, const std::vector<bool>& sequences);
  /// Of one rank's home alone: other tokens have none. Cost: as of all, for its chunks.
  HomeIndex(const MicroBatch& micro_batch, int rank);

  /// Calls visit(begin, end, rank) for the parts of `chunk`, ascending, each inside one chunk of one home.
  /// `visit` returns whether to go on. Cost: linear in the parts, plus a binary search.
  template <typename Visit>
  bool visit_parts(const Chunk& chunk, const Visit& visit) const {
    auto at = std::upper_bound(chunks_.begin(), chunks_.end(), std::tuple(chunk.sequence, chunk.begin),
                               [](const auto& key, const HomeChunk& home) { return key < std::tuple(home.sequence, home.end); });
    for (; at != chunks_.end() && at->sequence == chunk.sequence && at->begin < chunk.end; ++at) {
      if (!visit(std::max(at->begin, chunk.begin), std::min(at->end, chunk.end), at->rank)) return false;
    }
    return true;
  }

  /// Tokens [begin, end) of a sequence, not none, and their home.
  struct HomeChunk {
    std::int64_t sequence = 0;
    std::int64_t begin = 0;
    std::int64_t end = 0;
    int rank = 0;
  };
  /// By sequence, first token and rank.
  const std::vector<HomeChunk>& chunks() const { return chunks_; }

 private:
  template <typename IsWanted>
  void collect(const MicroBatch& micro_batch, std::size_t rank_begin, std::size_t rank_end, const IsWanted& is_wanted);

  std::vector<HomeChunk> chunks_;
};

}  // namespace ballast::scheduler
