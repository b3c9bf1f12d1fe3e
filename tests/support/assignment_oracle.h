#pragma once
#include <cstdint>
#include <vector>

namespace ballast::support {

/// Best sum of scores over all assignments in which token i takes k distinct experts and expert j capacity_E[j] tokens, exact up
/// to rounding: Top-K is the best for its own loads, and shifting one unit along a cheapest chain of moves keeps it so (min-cost
/// flow). Shapes: score_TE row-major, T = score_TE.size() / E; capacities sum to T k. Cost: O(slots above capacity x T k E).
double best_assignment_objective(const std::vector<double>& score_TE, std::int64_t k, std::vector<std::int64_t> capacity_E);

}  // namespace ballast::support
