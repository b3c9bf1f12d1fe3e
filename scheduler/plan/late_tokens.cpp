#include "scheduler/plan/late_tokens.h"

#include <algorithm>
#include <tuple>

namespace ballast::scheduler {
namespace {

bool is_before(const Chunk& a, const Chunk& b) { return std::tie(a.sequence, a.begin) < std::tie(b.sequence, b.begin); }

}  // namespace

LateTokens::LateTokens(const RankAttention& forward) {
  for (const AttentionExchange& exchange : forward.exchanges) {
    if (exchange.stage != Stage::kReturn) continue;
    for (const Parcel& parcel : exchange.receives) {
      if (parcel.src != parcel.dst) ranges_.push_back(parcel.chunk);
    }
  }
  std::sort(ranges_.begin(), ranges_.end(), is_before);
  std::size_t kept = 0;
  for (const Chunk& range : ranges_) {
    if (kept > 0 && ranges_[kept - 1].sequence == range.sequence && ranges_[kept - 1].end >= range.begin) {
      ranges_[kept - 1].end = std::max(ranges_[kept - 1].end, range.end);
    } else {
      ranges_[kept++] = range;
    }
  }
  ranges_.resize(kept);
}

TokenGroups LateTokens::groups(const Chunk& chunk) const {
  // The last range that begins before the chunk ends is the only one that can hold all of it.
  const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), Chunk{chunk.sequence, chunk.end - 1, 0}, is_before);
  if (after == ranges_.begin()) return bit(TokenGroup::kReady);
  const Chunk& range = *(after - 1);
  if (range.sequence != chunk.sequence || range.end <= chunk.begin) return bit(TokenGroup::kReady);
  if (range.begin <= chunk.begin && chunk.end <= range.end) return bit(TokenGroup::kLate);
  return bit(TokenGroup::kLate) | bit(TokenGroup::kReady);
}

}  // namespace ballast::scheduler
