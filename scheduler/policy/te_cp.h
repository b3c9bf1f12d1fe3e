#pragma once
#include "scheduler/policy/policy.h"

namespace ballast::scheduler {

/// Context parallelism as Transformer Engine has it: every sequence on a ring of all ranks, in equal zigzag shares. The published
/// rule needs lengths divisible by twice the ranks, so `charged_tokens` are the lengths rounded up to that; what is placed is
/// exact. Cost: sequences * ranks. Throws: InfeasiblePlan when a rank's shares, each rounded up by at most one token, exceed the
/// token cap. Source: Transformer Engine, point-to-point context parallelism.
Placement place_te_cp(const PlacementRequest& request);

}  // namespace ballast::scheduler
