#include "scheduler/plan/home_index.h"

namespace ballast::scheduler {

HomeIndex::HomeIndex(const MicroBatch& micro_batch) {
  collect(micro_batch, [](std::int64_t) { return true; });
}

HomeIndex::HomeIndex(const MicroBatch& micro_batch, const std::vector<bool>& sequences) {
  collect(micro_batch, [&](std::int64_t sequence) {
    return static_cast<std::size_t>(sequence) < sequences.size() && sequences[static_cast<std::size_t>(sequence)];
  });
}

template <typename IsWanted>
void HomeIndex::collect(const MicroBatch& micro_batch, const IsWanted& is_wanted) {
  for (std::size_t rank = 0; rank < micro_batch.homes.size(); ++rank) {
    for (const Chunk& chunk : micro_batch.homes[rank]) {
      if (chunk.begin < chunk.end && is_wanted(chunk.sequence))
        chunks_.push_back({chunk.sequence, chunk.begin, chunk.end, static_cast<int>(rank)});
    }
  }
  std::sort(chunks_.begin(), chunks_.end(),
            [](const HomeChunk& a, const HomeChunk& b) { return std::tie(a.sequence, a.begin) < std::tie(b.sequence, b.begin); });
}

}  // namespace ballast::scheduler
