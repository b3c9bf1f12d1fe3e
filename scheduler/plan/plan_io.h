#pragma once
// Plans at the edge: as a message, as JSON.
#include <string>

#include "scheduler/plan/plan.h"

namespace ballast::schema {
class Plan;
}

namespace ballast::scheduler {

void to_message(const Plan& plan, schema::Plan& message);

/// The inverse. The plan is as given: validate() it before it is executed.
/// Throws: std::invalid_argument for work or an instruction without a kind.
Plan plan_from(const schema::Plan& message);

/// The plan in protobuf's JSON form, on one line.
std::string plan_to_json(const Plan& plan);

}  // namespace ballast::scheduler
