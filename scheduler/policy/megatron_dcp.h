#pragma once
#include "scheduler/policy/policy.h"

namespace ballast::scheduler {

/// Megatron-LM's dynamic context parallelism as on its development branch (`default_dynamic_cp`). L is the token budget, or the
/// token cap if that is smaller; g(s) the smallest power of two with s <= g * L; the load of a sequence on G ranks is s^2 / G for
/// each. Longest first; the longest goes to g ranks, and 1.05 * longest * L is the limit of load. Each other one looks at the
/// sizes G = g, 2g, 4g, ... up to all ranks: groups of that size that stay within L tokens, or that many free ranks. It takes the
/// option with the lowest largest load of all ranks, the first of equal ones, if that is within the limit; otherwise it waits for
/// the next micro-batch. Then, while ranks are free, the first group of the smallest size doubles, later ones shift right; where
/// that cannot be, one group of all ranks takes what fits L, in order.
/// All micro-batches of the rule are merged into the one that is placed: same ranks, one after the other.
/// Cost: sequences * groups for each micro-batch of the rule. Throws: InfeasiblePlan when a sequence exceeds L on all ranks
/// together, or a rank would exceed the token cap. Source: Megatron-LM, dynamic context parallelism (development branch).
Placement place_megatron_dcp(const PlacementRequest& request);

/// As place_megatron_dcp, left-overs in micro-batches of their own.
std::vector<FormedMicroBatch> form_megatron_dcp(const PlacementRequest& request);

}  // namespace ballast::scheduler
