#pragma once
// Which run of a flat buffer each rank keeps.
#include <cstdint>
#include <vector>

namespace ballast::optim {

/// Contiguous runs of `num_elements` elements, one per rank in rank order; sizes differ by at most one, the first ranks have the
/// larger ones. With fewer elements than ranks some runs are empty.
struct ShardLayout {
  std::vector<std::int64_t> counts;
  std::vector<std::int64_t> begins;
};

/// Throws: std::invalid_argument for a negative size or no ranks.
ShardLayout make_shard_layout(std::int64_t num_elements, int num_ranks);

}  // namespace ballast::optim
