#pragma once
// Is this plan one that a runtime can execute? Everything that a policy can get wrong is named here.
#include <cstdint>
#include <stdexcept>

#include "scheduler/plan/plan.h"

namespace ballast::scheduler {

/// A plan that must not be executed. The text names what is wrong, first findings first.
class InvalidPlan : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

/// What a plan is held against.
struct PlanLimits {
  int num_ranks = 1;
  std::int64_t num_layers = 1;
  std::int64_t token_cap_per_rank = 0;  ///< 0: no limit
  int num_attention_heads = 0;          ///< 0: not checked
};

/// Checks: every sequence in exactly one micro-batch; every token at exactly one home; every query of every head computed exactly
/// once; ranks in range; shares that add up; the cap in both layouts; key/value sources not above their layer; programs of equal
/// micro-batches whose dependencies come first. Cost: linear in the plan, plus sorting of chunks. Throws: InvalidPlan with up to
/// ten findings.
void validate(const Plan& plan, const PlanLimits& limits);

}  // namespace ballast::scheduler
