#pragma once
// Requests that tests of policies share.
#include <string>
#include <vector>

#include "scheduler/make_plan.h"
#include "tests/scheduler/small_model.h"

namespace ballast::scheduler {

/// A step of these lengths by the small model on equal nodes; no cap.
PlanRequest plan_request(const std::string& policy, std::vector<std::int64_t> lengths, int num_nodes, int ranks_per_node);

/// In a RapidCheck property: any number of lengths, of 1 to 2^(most_bits - 1) tokens, short ones as often as long ones.
std::vector<std::int64_t> random_lengths(int most_bits);

/// The text with which make_plan refuses; "no error" if it does not.
std::string refusal_of(const PlanRequest& request);

/// The length tables below configs/workloads that batches are drawn from.
const std::vector<std::string>& table_names();

/// Lengths of exactly `num_tokens` tokens, none longer than 65536.
std::vector<std::int64_t> drawn_lengths(const std::string& table, std::int64_t num_tokens, std::uint64_t seed);

}  // namespace ballast::scheduler
