#pragma once
#include "scheduler/policy/policy.h"

namespace ballast::scheduler {

/// Hybrid data parallelism, the balanced variant without offload. A rank computes at most C tokens of a micro-batch, C the token
/// budget or the token cap if that is smaller. A sequence of s tokens is a ring of D = ceil(s / C) ranks, any integer, in equal
/// shares. Buckets are the sequences of one D, longest first, and are emptied from the largest D down. The ranks whose time
/// (attention and linear work) is more than 5 % below the longest are targets, all ranks where these are fewer than D; a sequence
/// goes to the D least-loaded targets: the run of D consecutive ones with the lowest largest time, if there is one. Number of
/// buckets, 5 % and the choice among targets are open in the paper and ours.
/// One micro-batch is placed whole, so its ranks may hold more than C. Cost: n log n + n * R.
/// Throws: InfeasiblePlan when a sequence needs more ranks than there are, or a rank would exceed the token cap.
/// Source: arXiv 2502.21231 (ByteScale).
Placement place_hybrid_dp(const PlacementRequest& request);

/// As place_hybrid_dp; each rank runs its sequences as a list of micro-batches of at most C tokens. A sequence joins the first
/// micro-batch in which every rank of its ring has room (ours); ranks that run fewer are idle in the last ones.
std::vector<FormedMicroBatch> form_hybrid_dp(const PlacementRequest& request);

}  // namespace ballast::scheduler
