#include "scheduler/policy/pack.h"

#include <algorithm>

#include "scheduler/plan/layout.h"

namespace ballast::scheduler {

Pack::Pack(std::span<const std::int64_t> sequences, std::span<const std::int64_t> lengths)
    : sequences_(sequences.begin(), sequences.end()) {
  std::int64_t end = 0;
  for (const std::int64_t s : sequences) ends_.push_back(end += lengths[s]);
}

std::vector<Chunk> Pack::cut(std::int64_t begin, std::int64_t end) const {
  std::vector<Chunk> chunks;
  std::size_t i = std::upper_bound(ends_.begin(), ends_.end(), begin) - ends_.begin();
  for (std::int64_t at = begin; at < end; ++i) {
    const std::int64_t first = i == 0 ? 0 : ends_[i - 1];
    const std::int64_t next = std::min(end, ends_[i]);
    append_chunk(chunks, {sequences_[i], at - first, next - first});
    at = next;
  }
  return chunks;
}

std::vector<std::vector<Chunk>> Pack::equal_parts(int num_parts) const {
  std::vector<std::vector<Chunk>> parts;
  const std::int64_t quotient = num_tokens() / num_parts;
  const std::int64_t rest = num_tokens() % num_parts;
  std::int64_t at = 0;
  for (int i = 0; i < num_parts; ++i) {
    const std::int64_t end = at + quotient + (i < rest ? 1 : 0);
    parts.push_back(cut(at, end));
    at = end;
  }
  return parts;
}

}  // namespace ballast::scheduler
