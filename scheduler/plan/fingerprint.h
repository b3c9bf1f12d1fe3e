#pragma once
#include <cstdint>

#include "scheduler/plan/plan.h"

namespace ballast::scheduler {

/// 64 bits that change with any field of the plan. Ranks compare them before they trust each other.
/// Deterministic: the same on every machine. Cost: linear in the plan.
std::uint64_t fingerprint(const Plan& plan);

}  // namespace ballast::scheduler
