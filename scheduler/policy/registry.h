#pragma once
// The table of policies.
#include <span>
#include <string>

#include "scheduler/policy/policy.h"

namespace ballast::scheduler {

/// All policies, in the order of tables.
std::span<const Policy> policies();

/// Throws: std::invalid_argument for an unknown name; the text lists the known ones.
const Policy& find_policy(const std::string& name);

}  // namespace ballast::scheduler
