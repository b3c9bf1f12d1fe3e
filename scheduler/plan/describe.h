#pragma once
// A plan in words, for people who ask in what two of them differ.
#include <string>
#include <vector>

#include "scheduler/plan/plan.h"

namespace ballast::scheduler {

/// One line for each thing that the plan says: each sequence's length, each piece of work, each rank's home and program, ...
/// Plans are equal exactly if their lines are. Cost: linear in the plan.
std::vector<std::string> describe(const Plan& plan);

}  // namespace ballast::scheduler
