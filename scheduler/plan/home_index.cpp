#include "scheduler/plan/home_index.h"

namespace ballast::scheduler {

HomeIndex::HomeIndex(const MicroBatch& micro_batch) {
  for (std::size_t rank = 0; rank < micro_batch.homes.size(); ++rank) {
    for (const Chunk& chunk : micro_batch.homes[rank]) {
      if (chunk.begin < chunk.end) chunks_.push_back({chunk.sequence, chunk.begin, chunk.end, static_cast<int>(rank)});
    }
  }
  std::sort(chunks_.begin(), chunks_.end(),
            [](const HomeChunk& a, const HomeChunk& b) { return std::tie(a.sequence, a.begin) < std::tie(b.sequence, b.begin); });
}

}  // namespace ballast::scheduler
