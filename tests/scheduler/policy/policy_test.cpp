#include "scheduler/policy/policy.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string_view>

#include "scheduler/plan/fingerprint.h"
#include "scheduler/plan/layout.h"
#include "scheduler/policy/registry.h"
#include "scheduler/sim/bounds.h"
#include "scheduler/sim/simulator.h"
#include "scheduler/topology/cluster.pb.h"
#include "scheduler/topology/topology_io.h"
#include "tests/scheduler/policy/policy_requests.h"

namespace ballast::scheduler {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// One contract for all rows of the registry. make_plan validates: every token at one home, every query computed once, the cap.

/// Policies whose published rule does not look at the cap of this system, or not well enough to fill it: they may refuse a
/// micro-batch that has room.
constexpr std::string_view kMayRefuse[] = {"dp_balanced",       "longest_first", "te_cp",  "ulysses", "hybrid_dp", "megatron_dcp",
                                           "megatron_dcp_main", "zeppelin",      "flexsp", "distca",  "chunk_heap"};

bool may_refuse(const Policy& policy) {
  return std::find(std::begin(kMayRefuse), std::end(kMayRefuse), policy.name) != std::end(kMayRefuse);
}

/// Who refuses, and the number that would have to change.
bool names_policy_and_cap(const std::string& text, const Policy& policy, const PlanRequest& wanted) {
  return text.starts_with(std::string("policy ") + policy.name + ":") && text.find("token_cap_per_rank") != std::string::npos &&
         text.find(std::to_string(wanted.options.token_cap_per_rank)) != std::string::npos;
}

/// Nodes of their own sizes with a card for each rank, for several, or several for one. Without cards only where no work can
/// pass them: on a cluster of one node.
Topology random_topology() {
  Topology topology;
  topology.nodes.resize(*rc::gen::inRange(1, 5));
  for (Node& node : topology.nodes) {
    node.num_ranks = *rc::gen::inRange(1, 5);
    node.num_nics = *rc::gen::inRange(topology.nodes.size() == 1 ? 0 : 1, 7);
    node.nic_bytes_per_second = *rc::gen::element(1e8, 1e10);
  }
  number_ranks(topology);
  return topology;
}

PlanRequest random_request(const Policy& policy) {
  PlanRequest wanted = plan_request(policy.name, random_lengths(12), 1, 1);
  wanted.topology = random_topology();
  wanted.options.tokens_per_micro_batch = *rc::gen::element<std::int64_t>(0, 0, 500, 5000);
  return wanted;
}

TEST(PolicyContract, CardsThatNobodyUsesChangeNoPlan) {
  for (const Policy& policy : policies()) {
    for (const std::string& table : table_names()) {
      PlanRequest with = plan_request(policy.name, drawn_lengths(table, 4096 * 16, 1), 4, 4);
      for (Node& node : with.topology.nodes) {
        node.nic_of_rank = {0, 0, 1, 1};
        node.num_nics = 8;
      }
      PlanRequest without = with;
      for (Node& node : without.topology.nodes) node.num_nics = 2;
      number_ranks(with.topology);
      number_ranks(without.topology);
      EXPECT_EQ(make_plan(with), make_plan(without)) << policy.name << ", " << table;
    }
  }
}

TEST(PolicyContract, WithoutACapNothingIsRefusedAndPlansArePure) {
  EXPECT_TRUE(rc::check("every policy, random lengths, no cap: valid, same input same plan", [] {
    for (const Policy& policy : policies()) {
      PlanRequest wanted = random_request(policy);
      for (const bool planner_mode : {false, true}) {
        wanted.planner_mode = planner_mode;
        const Plan plan = make_plan(wanted);
        RC_ASSERT(fingerprint(plan) == fingerprint(make_plan(wanted)));
        RC_ASSERT(plan == make_plan(wanted));
        for (const MicroBatch& micro_batch : plan.micro_batches) {
          RC_ASSERT(std::is_sorted(micro_batch.sequences.begin(), micro_batch.sequences.end()));
        }
      }
    }
  }));
}

TEST(PolicyContract, KeepsTheCapOrRefusesWithNumbers) {
  EXPECT_TRUE(rc::check("every policy, random lengths and caps: the cap is kept, or the text says what was wanted", [] {
    for (const Policy& policy : policies()) {
      PlanRequest wanted = random_request(policy);
      const int num_ranks = wanted.topology.num_ranks();
      std::int64_t needed = 1;
      for (const auto& run : micro_batch_runs(wanted.lengths, wanted.options.tokens_per_micro_batch)) {
        std::int64_t tokens = 0;
        for (const std::int64_t s : run) tokens += wanted.lengths[s];
        needed = std::max(needed, (tokens + num_ranks - 1) / num_ranks);
      }
      const auto tenths = *rc::gen::inRange<std::int64_t>(10, 40);
      wanted.options.token_cap_per_rank = (needed * tenths + 9) / 10;
      const std::string text = refusal_of(wanted);
      if (text != "no error" && !(may_refuse(policy) && names_policy_and_cap(text, policy, wanted))) RC_FAIL(text);
    }
  }));
}

TEST(PolicyContract, FormedMicroBatchesKeepTheCapWherePromised) {
  EXPECT_TRUE(rc::check("planner mode: valid, and under the cap unless the row says otherwise", [] {
    for (const Policy& policy : policies()) {
      if (policy.form_micro_batches == nullptr) continue;
      PlanRequest wanted = random_request(policy);
      wanted.planner_mode = true;
      std::int64_t total = 0, longest = 1;
      for (const std::int64_t length : wanted.lengths) {
        total += length;
        longest = std::max(longest, length);
      }
      const std::int64_t num_ranks = wanted.topology.num_ranks();
      // One sequence must fit on all ranks together; a power of two of them may be all that a rule uses.
      wanted.options.tokens_per_rank = (longest + num_ranks - 1) / num_ranks + *rc::gen::inRange<std::int64_t>(0, total + 1);
      wanted.options.token_cap_per_rank = wanted.options.tokens_per_rank;
      if (const std::string text = refusal_of(wanted); text != "no error") {
        if (!(may_refuse(policy) && names_policy_and_cap(text, policy, wanted))) RC_FAIL(text);
        continue;
      }
      if (!policy.keeps_cap_when_forming) continue;
      const Plan plan = make_plan(wanted);
      for (const MicroBatch& micro_batch : plan.micro_batches) {
        for (const auto& home : micro_batch.homes) RC_ASSERT(num_tokens(home) <= wanted.options.token_cap_per_rank);
      }
    }
  }));
}

TEST(PolicyContract, PlansOfUnevenClustersRun) {
  // Ranks and cards of each node.
  const std::vector<std::vector<std::pair<int, int>>> clusters{
      {{3, 1}, {1, 2}, {2, 2}}, {{4, 3}, {2, 5}}, {{1, 1}, {4, 2}, {4, 1}}, {{3, 0}}};
  for (const auto& nodes : clusters) {
    Topology topology;
    for (const auto& [num_ranks, num_nics] : nodes) {
      Node& node = topology.nodes.emplace_back();
      node.num_ranks = num_ranks;
      node.num_nics = num_nics;
    }
    number_ranks(topology);
    for (const Policy& policy : policies()) {
      PlanRequest wanted = plan_request(policy.name, {9000, 70, 4001, 1, 2600, 333, 128, 1999}, 1, 1);
      wanted.topology = topology;
      const Plan plan = make_plan(wanted);
      EXPECT_GE(simulate(plan, wanted.model, topology).makespan_seconds,
                step_bounds(plan.lengths, wanted.model, topology, 0).seconds())
          << policy.name << " on " << topology.num_ranks() << " ranks";
    }
  }
}

TEST(PolicyContract, MoreRanksThanTokensAndEmptySteps) {
  for (const Policy& policy : policies()) {
    for (const bool planner_mode : {false, true}) {
      PlanRequest few = plan_request(policy.name, {1, 1}, 1, 5);
      few.planner_mode = planner_mode;
      EXPECT_EQ(make_plan(few).ranks.size(), 5u) << policy.name;
      PlanRequest none = plan_request(policy.name, {}, 1, 3);
      none.planner_mode = planner_mode;
      const Plan plan = make_plan(none);
      ASSERT_EQ(plan.micro_batches.size(), 1u) << policy.name;
      EXPECT_EQ(plan.micro_batches[0].homes.size(), 3u) << policy.name;
    }
  }
}

Topology cluster_a(int num_ranks) {
  std::ifstream file(std::string(BALLAST_SOURCE_DIR) + "/configs/clusters/cluster_a.textproto");
  std::ostringstream text;
  text << file.rdbuf();
  schema::Cluster cluster;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text.str(), &cluster));
  return resized(topology_from(cluster), num_ranks);
}

// Every build on every machine makes these plans; ranks of mixed machines rely on it. A change that is meant to change plans
// renews a number: it is that of the failure's text. A number that differs between two builds of one commit is a defect.
TEST(PolicyContract, PlansAreTheSameOnEveryMachine) {
  struct Pinned {
    const char* policy;
    const char* table;
    int num_ranks;
    std::uint64_t fingerprint;
  };
  constexpr Pinned kPinned[] = {
      {"longest_first", "pile", 16, 0x99974e7727d4e9dd},
      {"te_cp", "wikipedia_quantiles", 16, 0xec4dd06ee6c100de},
      {"llama_cp", "prolong64k", 16, 0xf0ad1a8cfb1f8440},
      {"hybrid_dp", "prolong64k", 16, 0x1847338ef8782c30},
      {"zeppelin", "pile", 16, 0x4b205a240edc3eb0},
      {"zeppelin", "prolong_distca_quantiles", 128, 0x8b128c13f240ec72},
      {"megatron_dcp", "wlb_pretrain_quantiles", 64, 0xd6faa2d067d5c9d1},
      {"distca", "pile", 64, 0x869cf319f071605d},
      {"chunk_heap", "wikipedia_quantiles", 64, 0xd3c3366c888a671d},
      {"ballast", "pile", 128, 0x00ab0922f19c6b60},
      {"ballast", "prolong64k", 128, 0x48bf05fbba4f47e8},
  };
  for (const Pinned& pinned : kPinned) {
    PlanRequest wanted = plan_request(pinned.policy, drawn_lengths(pinned.table, 4096 * pinned.num_ranks, 7), 1, 1);
    wanted.topology = cluster_a(pinned.num_ranks);
    if (std::string_view(pinned.policy) == "ballast") wanted.options.token_cap_per_rank = 4505;
    EXPECT_EQ(fmt::format("{:#018x}", fingerprint(make_plan(wanted))), fmt::format("{:#018x}", pinned.fingerprint))
        << pinned.policy << ", " << pinned.table << ", " << pinned.num_ranks << " ranks";
  }
}

TEST(PolicyContract, MoreTokensThanAllRanksMayHoldAreRefused) {
  for (const Policy& policy : policies()) {
    PlanRequest wanted = plan_request(policy.name, {10, 10, 10}, 1, 2);
    wanted.options.token_cap_per_rank = 12;
    EXPECT_THAT(refusal_of(wanted), AllOf(HasSubstr(policy.name), HasSubstr("30 tokens needs 15 on each of 2 ranks"),
                                          HasSubstr("token_cap_per_rank is 12")));
  }
}

TEST(PolicyOptions, TheBudgetIsTheShareOfARankUnlessGiven) {
  const PlanRequest wanted = plan_request("te_cp", {7, 6}, 1, 4);
  const std::vector<std::int64_t> all{0, 1}, none;
  PlacementRequest request{wanted.lengths, all, wanted.topology, wanted.model, 100};
  EXPECT_EQ(request.token_budget(), 4);
  request.tokens_per_rank = 9;
  EXPECT_EQ(request.token_budget(), 9);
  EXPECT_EQ((PlacementRequest{wanted.lengths, none, wanted.topology, wanted.model, 100}.token_budget()), 1);
}

}  // namespace
}  // namespace ballast::scheduler
