#pragma once
// Policy options from their text form.
#include "scheduler/policy/policy.h"

namespace ballast::schema {
class Scheduler;
}

namespace ballast::scheduler {

/// Throws: as remap_from.
PolicyOptions policy_options_from(const schema::Scheduler& scheduler);

}  // namespace ballast::scheduler
