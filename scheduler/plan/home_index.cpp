#include "scheduler/plan/home_index.h"

namespace ballast::scheduler {

HomeIndex::HomeIndex(const MicroBatch& micro_batch) {
  collect(micro_batch, 0, micro_batch.homes.size(), [](std::int64_t) { return true; });
}

HomeIndex::HomeIndex(const MicroBatch& micro_batch, const std::vector<bool>& sequences) {
  collect(micro_batch, 0, micro_batch.homes.size(), [&](std::int64_t sequence) {
    return static_cast<std::size_t>(sequence) < sequences.size() && sequences[static_cast<std::size_t>(sequence)];
  });
}

HomeIndex::HomeIndex(const MicroBatch& micro_batch, int rank) {
  collect(micro_batch, static_cast<std::size_t>(rank), static_cast<std::size_t>(rank) + 1, [](std::int64_t) { return true; });
}

template <typename IsWanted>
void HomeIndex::collect(const MicroBatch& micro_batch, std::size_t rank_begin, std::size_t rank_end, const IsWanted& is_wanted) {
  const auto visit_chunks = [&](const auto& visit) {
    for (std::size_t rank = rank_begin; rank < rank_end; ++rank) {
      for (const Chunk& chunk : micro_batch.homes[rank]) {
        if (chunk.begin < chunk.end && is_wanted(chunk.sequence)) visit(chunk, static_cast<int>(rank));
      }
    }
  };
  // Most sequences are one chunk, so they are counted apart before anything is compared.
  std::vector<std::size_t> place(1, 0);  // by sequence: of its next chunk
  visit_chunks([&](const Chunk& chunk, int) {
    const auto next = static_cast<std::size_t>(chunk.sequence) + 1;
    if (next >= place.size()) place.resize(next + 1, 0);
    ++place[next];
  });
  for (std::size_t s = 1; s < place.size(); ++s) place[s] += place[s - 1];
  chunks_.resize(place.back());
  visit_chunks([&](const Chunk& chunk, int rank) {
    chunks_[place[static_cast<std::size_t>(chunk.sequence)]++] = {chunk.sequence, chunk.begin, chunk.end, rank};
  });
  std::size_t begin = 0;
  for (const std::size_t end : place) {
    if (end - begin > 1) {
      std::sort(chunks_.begin() + static_cast<std::ptrdiff_t>(begin), chunks_.begin() + static_cast<std::ptrdiff_t>(end),
                [](const HomeChunk& a, const HomeChunk& b) { return a.begin != b.begin ? a.begin < b.begin : a.rank < b.rank; });
    }
    begin = end;
  }
}

}  // namespace ballast::scheduler
