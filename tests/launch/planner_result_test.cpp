#include "launch/planner_result.h"

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <set>

namespace ballast::launch {
namespace {

scheduler::PlanRequest request() {
  scheduler::PlanRequest request;
  request.lengths = {100, 200};
  request.topology = scheduler::uniform_topology(2, {.num_ranks = 2, .nic_of_rank = {}, .nics_per_rank = {}});
  request.model.num_layers = 4;
  return request;
}

TEST(PlannerResult, EveryInputChangesTheHash) {
  using Change = std::function<void(scheduler::PlanRequest&)>;
  const Change changes[] = {
      [](auto& r) { r.lengths[1] = 201; },
      [](auto& r) {
        r.lengths = {1, 0, 0, 200};
      },
      [](auto& r) { r.topology.message_seconds *= 1 + 1e-15; },
      [](auto& r) { r.topology = scheduler::resized(r.topology, 3); },
      [](auto& r) { r.model.num_layers = 5; },
      [](auto& r) { r.model.element_bytes = 2; },
      [](auto& r) { r.options.policy = "te_cp"; },
      [](auto& r) { r.options.token_cap_per_rank = 300; },
      [](auto& r) { r.options.tokens_per_rank = 150; },
      [](auto& r) { r.options.remap = scheduler::Remap::kCluster; },
      [](auto& r) { r.options.is_routed = true; },
      [](auto& r) { r.options.is_routed = false; },
  };
  std::set<std::uint64_t> hashes = {input_hash(request())};
  for (const Change& change : changes) {
    scheduler::PlanRequest changed = request();
    change(changed);
    EXPECT_TRUE(hashes.insert(input_hash(changed)).second) << hashes.size();
  }
  scheduler::PlanRequest renamed = request();
  renamed.topology.name = "another name";
  renamed.model.name = "another name";
  EXPECT_EQ(input_hash(renamed), input_hash(request()));
}

TEST(PlannerResult, ALineIsReadAsItWasWritten) {
  PlannerResult result{
      .cell = {"a", "m", "pile", 16, 65536, 1.1}, .row = "te_cp", .seed = 3, .inputs = 0xfedcba9876543210u, .commit = "1234567"};
  result.score = {.makespan_seconds = 1,
                  .makespan_seconds_attention_overlap_only = 2,
                  .makespan_over_strict_bound = 3,
                  .makespan_over_best_bound = 4,
                  .makespan_over_strict_bound_attention_overlap_only = 5,
                  .imbalance_full = 6,
                  .imbalance_attention = 7,
                  .tokens_max_over_budget = 8,
                  .exposed_communication_fraction = 0.25,
                  .num_micro_batches = 9,
                  .is_exact = true,
                  .simulated_layers = 10,
                  .planning_seconds = 0.125,
                  .seconds = 0.5,
                  .refusal = "none"};
  const std::string line = json_line(result);
  EXPECT_EQ(line.find(kPlannerResultBegin), 0u);
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json_line(planner_result_from(json)), line);
  EXPECT_EQ(planner_result_from(json).inputs, result.inputs);
  for (const auto& [field, value] : json.items()) EXPECT_FALSE(value.is_null()) << field;
}

TEST(PlannerResult, WhatWasNotSimulatedIsNull) {
  const auto json = nlohmann::json::parse(json_line({}));
  for (const char* field :
       {"makespan_seconds", "makespan_over_best_bound", "exposed_communication_fraction", "is_exact", "simulated_layers"}) {
    EXPECT_TRUE(json.at(field).is_null()) << field;
  }
  EXPECT_EQ(json_line(planner_result_from(json)), json_line({}));
}

}  // namespace
}  // namespace ballast::launch
