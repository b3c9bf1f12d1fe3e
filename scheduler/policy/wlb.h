#pragma once
#include "scheduler/policy/policy.h"

namespace ballast::scheduler {

/// Whole documents in packs of equal work, each pack on one group of ranks: documents by descending length, each to the pack of
/// least work if it fits there, else to the shortest pack. Work is attention and linear time of the cost model. Inside a group,
/// whose members gather the keys and values of the pack, queries are cut either document by document (zigzag; tokens that do not
/// divide are dealt one by one) or as one pack (parts i and 2G-1-i of 2G); the lower time of the slowest member counts, pieces
/// rounded up to 128 queries as kernels do.
/// The published rule is given groups; here they are the smallest equal ones (ranks divided by a divisor) that hold the longest
/// document within the budget of tokens and leave no document over.
/// Throws: InfeasiblePlan when the micro-batch has more tokens than all ranks may hold.
/// Source: WLB-LLM, arXiv 2503.17924, packing and sharding.
Placement place_wlb(const PlacementRequest& request);

/// The same with the packs of all micro-batches of the step filled together. A document that fits no pack waits: what waits fills
/// packs of further micro-batches of the plan, as the first documents of the next step would.
///
/// Left out are the published queues of outliers: documents of at least L_1 tokens (several classes, L_i tuned on a sample) wait
/// until there are as many of a class as packs, so which documents a step trains depends on the steps before it. A plan is a pure
/// function of its step and trains all of it, as that of every other policy, so that rows of a table are of the same work. The
/// levelling that the queues add (published, 7B, imbalance of one batch packed greedily 1.41, with two classes 1.05, for a delay
/// of half a step on average) is therefore not in figures of this policy.
/// Throws: InfeasiblePlan when a document is longer than all ranks may hold.
std::vector<FormedMicroBatch> form_wlb(const PlacementRequest& request);

}  // namespace ballast::scheduler
