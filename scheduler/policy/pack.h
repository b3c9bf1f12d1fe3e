#pragma once
// Sequences laid end to end, for rules that cut such a pack wherever a border falls.
#include <cstdint>
#include <span>
#include <vector>

#include "scheduler/plan/plan.h"

namespace ballast::scheduler {

/// Some sequences, end to end in the order given. Positions count the tokens of the whole pack.
class Pack {
 public:
  /// Input: `sequences` index `lengths`.
  Pack(std::span<const std::int64_t> sequences, std::span<const std::int64_t> lengths);

  std::int64_t num_tokens() const { return ends_.empty() ? 0 : ends_.back(); }

  /// Tokens at positions [begin, end): chunks of one sequence or of several. Cost: log sequences, and the result.
  std::vector<Chunk> cut(std::int64_t begin, std::int64_t end) const;

  /// The pack in `num_parts` consecutive parts of equal tokens, the spare ones in the first parts.
  std::vector<std::vector<Chunk>> equal_parts(int num_parts) const;

 private:
  std::vector<std::int64_t> sequences_;
  std::vector<std::int64_t> ends_;  ///< position after each sequence
};

}  // namespace ballast::scheduler
