#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace ballast::scheduler {

/// Above so many classes none are formed: every length stays as it is.
inline constexpr int kMostLengthClasses = 256;

/// Rounds lengths up to the longest of their class, classes being runs of like lengths with the least total rounding.
/// Input: `lengths` descending, positive; `num_classes` positive, raised until the rounded lengths sum to at most `most_tokens`.
/// Returns: the rounded lengths, in the same order. Cost: classes * m log m for m different lengths.
/// Source: FlexSP, arXiv 2412.01523, bucketing; by divide and conquer instead of its quadratic dynamic program, to the same sum.
std::vector<std::int64_t> rounded_to_classes(std::span<const std::int64_t> lengths, int num_classes, std::int64_t most_tokens);

}  // namespace ballast::scheduler
