#pragma once
#include "scheduler/policy/policy.h"

namespace ballast::scheduler {

/// Groups of powers of two ranks, large ones for long sequences, each of which splits its pack by tokens and, inside attention,
/// by heads; a group of one rank computes alone. As published, lengths are rounded up to 16 classes for the choice of groups
/// (more where their sum would pass the mean of the tokens and of what the ranks may hold), and charged padded to multiples of
/// twice the ranks. Time of a group: attention and linear work over its ranks, plus the all-to-all of queries, keys, values and
/// outputs.
///
/// What differs. Without the published integer program, every multiset of powers of two (divisors of the heads) that sums to the
/// ranks is tried, sequences go longest first to the group that would end first of those with room, and the multiset whose
/// slowest group is fastest stays. More than 2000 multisets (above 64 ranks) are not all tried: ranks are dealt to the sizes in
/// units of at least a quarter of the largest power of two, all ways; then smaller and smaller amounts, down to single ranks,
/// move from one size to another while that helps. Groups of one rank are allowed, which the shipped script leaves out, and
/// groups may stay empty, where the program gives each a sequence: both only widen the choice. Costs are those of the cluster and
/// model at hand, not the published fits of one machine.
///
/// Where rounded lengths have no room, exact ones are tried, as training cannot open another micro-batch. Cost: multisets times
/// sequences. Throws: InfeasiblePlan when no multiset that was tried has room under the token cap. Source: FlexSP, arXiv
/// 2412.01523.
Placement place_flexsp(const PlacementRequest& request);

/// Micro-batches by the published rule: from the smallest number that memory allows upward, sequences by descending length in
/// consecutive runs whose largest token count is smallest; of five consecutive numbers that can be placed the least total time
/// stays. Memory is the token cap: without one, one micro-batch is the smallest number.
/// Throws: InfeasiblePlan when a sequence fits no group.
std::vector<FormedMicroBatch> form_flexsp(const PlacementRequest& request);

}  // namespace ballast::scheduler
