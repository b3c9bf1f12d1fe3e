#pragma once
// What `plan` and `simulate` say in the same words.
#include <cstdint>
#include <span>
#include <string>

#include "launch/planning_input.h"
#include "scheduler/plan/plan.h"

namespace ballast::launch {

/// "1 rank", "2 ranks".
std::string counted(std::size_t count, const char* one, const char* many);

std::int64_t num_tokens(std::span<const std::int64_t> lengths);

/// "16 ranks on 2 nodes, 64 sequences, 65536 tokens".
std::string step_text(const scheduler::PlanRequest& request);

/// "4 micro-batches", and who cut them.
std::string micro_batches_text(const scheduler::PlanRequest& request, const scheduler::Plan& plan);

/// Bytes as the tables show them. Units: 10^9 bytes.
double gigabytes(std::int64_t bytes);

/// How many of the ranks, which need these bytes, do not have them.
int num_ranks_over_memory(const scheduler::PlanRequest& request, std::span<const std::int64_t> rank_bytes);

/// "a rank has 85.899 GB", of how many GPUs where that is more than one, and where the file says so.
std::string rank_memory_text(const PlanningInput& input);

/// "<ranks> need more memory than they have", and what to change about it.
std::string memory_shortage_text(const PlanningInput& input, const std::string& ranks);

/// What `--help` of `plan` and `simulate` adds: where the step comes from, the forms of lengths, the policies.
std::string planning_notes();

}  // namespace ballast::launch
