#pragma once
// Policy options from their text form.
#include <optional>
#include <string>

#include "scheduler/policy/policy.h"

namespace ballast::schema {
class Scheduler;
}

namespace ballast::scheduler {

/// PolicyOptions::is_routed of policy (none), off or on. Throws: std::invalid_argument for another name.
std::optional<bool> routing_from(const std::string& name);

/// Throws: as routing_from and remap_from.
PolicyOptions policy_options_from(const schema::Scheduler& scheduler);

}  // namespace ballast::scheduler
