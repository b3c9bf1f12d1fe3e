#pragma once
// The arithmetic of a reduction, stated once for all backends: same values, same bits.
#include <span>

#include "runtime/comm/communicator.h"

namespace ballast::comm {

/// result[i] = op over r of sources[r][i], taken in the order of `sources`. Integers wrap; bfloat16 is accumulated in float32
/// and rounded once, to nearest even; a NaN in any source makes the element NaN.
/// Input: every source and the result hold `count` elements of `dtype`; the result may be one of the sources.
/// Deterministic: element i depends on elements i only, however the range is cut.
void reduce_in_rank_order(std::span<const void* const> sources, void* result, std::int64_t count, Dtype dtype, ReduceOp op);

}  // namespace ballast::comm
