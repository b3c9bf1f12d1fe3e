#pragma once
// Which tokens of a rank have to wait for other ranks before their linear work can go on.
#include <cstdint>
#include <vector>

#include "scheduler/plan/expand.h"

namespace ballast::scheduler {

/// Tokens of a rank by what their linear work has to wait for.
enum class TokenGroup : int {
  kLate,   ///< computed elsewhere, at least some heads: waits for messages that bring outputs back
  kReady,  ///< all attention of theirs is on this rank
};
inline constexpr int kNumTokenGroups = 2;

/// Set of token groups, one bit each.
using TokenGroups = std::uint8_t;
inline constexpr TokenGroups bit(TokenGroup group) { return static_cast<TokenGroups>(1u << static_cast<int>(group)); }

/// Tokens of one rank whose outputs come back from other ranks, as sorted ranges that do not touch.
class LateTokens {
 public:
  LateTokens() = default;
  /// Input: the rank's forward pass. Cost: sorts what returns.
  explicit LateTokens(const RankAttention& forward);
  const std::vector<Chunk>& ranges() const { return ranges_; }
  /// Groups that the tokens of a chunk belong to.
  TokenGroups groups(const Chunk& chunk) const;

 private:
  std::vector<Chunk> ranges_;
};

}  // namespace ballast::scheduler
