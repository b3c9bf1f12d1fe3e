#pragma once
#include "scheduler/policy/policy.h"

namespace ballast::scheduler {

/// Tokens of linear layers stay where `sequential` puts them, every rank filled to its part of the micro-batch. Only attention
/// moves: ranks with less than the mean work, in order of what they lack, fetch work from ranks with more until they are within a
/// tenth of the mean. Each time the document or piece whose transfer costs least per unit of work goes, whole or its innermost
/// tokens: the end of the head part and the start of the tail part. What up to a tenth each leaves can stay together on one rank.
/// Lengths need not be even: parts are exact, so nothing is charged above the lengths. Cost: items times moves. Throws:
/// InfeasiblePlan when a rank would compute more queries than the token cap; the rule has none. Source: DistCA, arXiv 2510.18121.
Placement place_distca(const PlacementRequest& request);

/// The whole step as one micro-batch and without a cap, as published.
std::vector<FormedMicroBatch> form_distca(const PlacementRequest& request);

}  // namespace ballast::scheduler
