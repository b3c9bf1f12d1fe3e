#pragma once
#include "scheduler/policy/policy.h"

namespace ballast::scheduler {

/// Megatron-LM's dynamic context parallelism as on its main branch (`BalancedCPScheduler`). L is the token budget; g(s) the
/// smallest power of two with s <= g * L; the load of a sequence is w = s^2 / g for each member.
/// Longest first, in as many buckets as there are values of g: one closes where the next sequence would take it over 1.1 times
/// the mean, or where only enough sequences are left to open the others. Then again and again the first bucket whose head has a
/// group of exactly g ranks or g free ranks gives it to the free ones, if that means less load, or to the least-loaded such
/// group. Once g has fallen below the first one, this stops when loads are within 5 % of the largest. Afterwards, while they are
/// not and no rank is free, the newest sequence of the most-loaded group is popped if that narrows the range; then, while ranks
/// are free, the first group of the smallest size doubles, later ones shift right (a last doubling that needs more ranks than are
/// free takes those: ours, for rank counts that are no powers of two). Left-overs form the next micro-batch, in the order of the
/// buckets, then as popped. There is no token cap in the rule. Here all its micro-batches are merged into the one that is placed,
/// same ranks, one after the other, and the cap of the request holds. Cost: n log n + sequences * groups for each micro-batch of
/// the rule. Throws: InfeasiblePlan when a sequence exceeds L on all ranks together, or a rank would exceed the token cap.
/// Source: Megatron-LM, hybrid context parallelism (main branch).
Placement place_megatron_dcp_main(const PlacementRequest& request);

/// As place_megatron_dcp_main, left-overs in micro-batches of their own and without a cap, as published.
std::vector<FormedMicroBatch> form_megatron_dcp_main(const PlacementRequest& request);

}  // namespace ballast::scheduler
