// The schedulers of Megatron-LM in planner mode on drawn micro-batches, against two records of the upstream files: means of three
// seeds that are not ours, on the same tables, so that only means compare; and, for the main branch, what its file gives for the
// very micro-batches drawn here.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "scheduler/workload/length_table.h"
#include "tests/scheduler/policy/policy_requests.h"
#include "tests/scheduler/published_costs.h"

namespace ballast::scheduler {
namespace {

constexpr std::int64_t kTokensPerRank = 4096;
constexpr std::int64_t kContext = 131072;

LengthTable load(const std::string& name) {
  const auto read = [](const std::string& file) {
    std::ifstream stream(std::filesystem::path(BALLAST_SOURCE_DIR) / "configs/workloads" / (file + ".csv"));
    std::stringstream text;
    text << stream.rdbuf();
    return parse_length_table(text.str(), file);
  };
  const bool is_quantiles = name == "wikipedia" || name == "wlb_pretrain";
  LengthTable table = read(is_quantiles ? name + "_quantiles" : name);
  if (is_quantiles) add_tail(table, read(name + "_tail_quantiles"));
  return table;
}

/// What a policy makes of a micro-batch of 4096 tokens a rank, and what upstream's means were.
struct Cell {
  const char* policy;
  const char* table;
  int num_ranks;
  double full;    ///< largest over mean of attention and linear work
  double tokens;  ///< most tokens of a rank over 4096; 0: not held against
};

// Left out are eight cells of megatron_dcp_main, wlb_pretrain, Pile at 16, 64 and 128 ranks and prolong64k at 16: upstream's own
// file gives our means for our draws there (kSameDraws), so it is the three draws of that record that differ.
constexpr Cell kCells[] = {
    {"megatron_dcp_main", "wikipedia", 16, 1.43, 1.53},
    {"megatron_dcp_main", "wikipedia", 64, 1.71, 1.89},
    {"megatron_dcp_main", "prolong64k", 64, 1.37, 1.73},
    {"megatron_dcp_main", "wikipedia", 128, 1.68, 1.89},
    {"megatron_dcp_main", "prolong64k", 128, 1.59, 1.92},
    {"megatron_dcp_main", "wikipedia", 512, 1.97, 2.05},
    {"megatron_dcp_main", "prolong64k", 512, 1.66, 1.95},
    {"megatron_dcp_main", "pile", 512, 2.12, 2.04},
    {"megatron_dcp", "wikipedia", 16, 1.16, 1.00},
    {"megatron_dcp", "prolong64k", 16, 1.04, 1.00},
    {"megatron_dcp", "pile", 16, 1.05, 1.00},
    {"megatron_dcp", "wlb_pretrain", 16, 1.05, 1.00},
    {"megatron_dcp", "wikipedia", 64, 1.24, 1.00},
    {"megatron_dcp", "prolong64k", 64, 1.40, 1.00},
    {"megatron_dcp", "pile", 64, 1.13, 1.00},
    {"megatron_dcp", "wlb_pretrain", 64, 1.34, 1.00},
    {"megatron_dcp", "wikipedia", 128, 1.28, 1.00},
    {"megatron_dcp", "prolong64k", 128, 1.67, 1.00},
    {"megatron_dcp", "pile", 128, 1.34, 1.00},
    {"megatron_dcp", "wlb_pretrain", 128, 1.50, 1.00},
    {"megatron_dcp", "wikipedia", 512, 1.83, 1.00},
    {"megatron_dcp", "prolong64k", 512, 1.72, 1.00},
    {"megatron_dcp", "pile", 512, 2.12, 1.00},
    {"megatron_dcp", "wlb_pretrain", 512, 2.56, 1.00},
};
constexpr double kTolerance = 0.15;
constexpr int kSeeds = 40;

/// Means over the micro-batches of seeds 0 to 39.
struct SameDraws {
  const char* table;
  int num_ranks;
  double full;
  double tokens;
  double micro_batches;
};

// From `BalancedCPScheduler` of the wheel megatron-core 0.16.1, run by docs/results/2026-11-25-rivals/megatron_main.py.
constexpr SameDraws kSameDraws[] = {
    {"wikipedia", 16, 1.5775, 1.5753, 1.05}, {"prolong64k", 16, 1.4152, 1.2884, 1.125},
    {"pile", 16, 1.7258, 1.7276, 1.05},      {"wlb_pretrain", 16, 1.6955, 1.1433, 1.9},
    {"wikipedia", 64, 1.7264, 1.9367, 1.05}, {"prolong64k", 64, 1.5497, 1.8264, 1},
    {"pile", 64, 1.8553, 2.2531, 1},         {"wlb_pretrain", 64, 2.0379, 1.5361, 1.8},
    {"wikipedia", 128, 1.7904, 2.0765, 1},   {"prolong64k", 128, 1.5989, 1.9617, 1},
    {"pile", 128, 1.8018, 2.1426, 1},        {"wlb_pretrain", 128, 2.7238, 2.7504, 1.65},
    {"wikipedia", 512, 1.8932, 1.9848, 1},   {"prolong64k", 512, 1.6583, 1.9759, 1},
    {"pile", 512, 2.3138, 2.1185, 1},        {"wlb_pretrain", 512, 6.3779, 6.9620, 1.775},
};
constexpr double kRounding = 1e-4;

struct Balance {
  double full = 0, tokens = 0, micro_batches = 0;
};

/// Sum of largest loads over sum of mean loads of the micro-batches; most tokens of a rank in one of them; how many they are.
Balance balance(const Plan& plan, int num_ranks) {
  Balance result;
  double largest = 0, mean = 0;
  for (const MicroBatch& micro_batch : plan.micro_batches) {
    std::vector<double> full(num_ranks, 0), tokens(num_ranks, 0);
    for (const AttentionWork& piece : micro_batch.work) {
      const Ring& ring = std::get<Ring>(piece);
      const double length = static_cast<double>(plan.lengths[ring.sequence]), degree = static_cast<double>(ring.ranks.size());
      for (const int rank : ring.ranks) {
        full[rank] += (kFlexsp7b.square_milliseconds * length + kFlexsp7b.token_milliseconds) * length / degree;
        tokens[rank] += length / degree;
      }
    }
    largest += *std::max_element(full.begin(), full.end());
    for (const double load : full) mean += load / num_ranks;
    result.tokens = std::max(result.tokens, *std::max_element(tokens.begin(), tokens.end()) / kTokensPerRank);
  }
  result.full = largest / mean;
  result.micro_batches = static_cast<double>(plan.micro_batches.size());
  return result;
}

/// Sequences in order until the next one would pass the micro-batch, as upstream was measured: one that is cut to fit leaves no
/// token of room, and megatron_dcp then always needs a second micro-batch.
std::vector<std::int64_t> draw(const LengthTable& table, int num_ranks, int seed) {
  BatchRequest batch;
  batch.num_tokens = num_ranks * kTokensPerRank;
  batch.longest_tokens = batch.num_tokens;
  batch.histogram_limit = kContext;
  batch.seed = static_cast<std::uint64_t>(seed);
  std::vector<std::int64_t> lengths = draw_batch(table, batch);
  lengths.pop_back();
  return lengths;
}

Balance mean_balance(const std::string& policy, const LengthTable& table, int num_ranks) {
  Balance mean;
  for (int seed = 0; seed < kSeeds; ++seed) {
    PlanRequest wanted = plan_request(policy, draw(table, num_ranks, seed), num_ranks / 8, 8);
    wanted.options.tokens_per_rank = kTokensPerRank;
    wanted.planner_mode = true;
    const Balance one = balance(make_plan(wanted), num_ranks);
    mean.full += one.full / kSeeds;
    mean.tokens += one.tokens / kSeeds;
    mean.micro_batches += one.micro_batches / kSeeds;
  }
  return mean;
}

TEST(MegatronPublished, MeansAreUpstreams) {
  std::map<std::string, LengthTable> tables;
  for (const Cell& cell : kCells) {
    if (!tables.contains(cell.table)) tables.emplace(cell.table, load(cell.table));
    const Balance mean = mean_balance(cell.policy, tables.at(cell.table), cell.num_ranks);
    EXPECT_NEAR(mean.full, cell.full, kTolerance * cell.full) << cell.policy << ", " << cell.table << ", " << cell.num_ranks;
    EXPECT_NEAR(mean.tokens, cell.tokens, kTolerance * cell.tokens)
        << cell.policy << ", " << cell.table << ", " << cell.num_ranks;
  }
}

TEST(MegatronPublished, TheMainBranchGivesTheSameForTheSameDraws) {
  std::map<std::string, LengthTable> tables;
  for (const SameDraws& upstream : kSameDraws) {
    if (!tables.contains(upstream.table)) tables.emplace(upstream.table, load(upstream.table));
    const Balance mean = mean_balance("megatron_dcp_main", tables.at(upstream.table), upstream.num_ranks);
    EXPECT_NEAR(mean.full, upstream.full, kRounding) << upstream.table << ", " << upstream.num_ranks;
    EXPECT_NEAR(mean.tokens, upstream.tokens, kRounding) << upstream.table << ", " << upstream.num_ranks;
    EXPECT_NEAR(mean.micro_batches, upstream.micro_batches, kRounding) << upstream.table << ", " << upstream.num_ranks;
  }
}

TEST(MegatronPublished, OnlyTheMainBranchPassesTheTokenBudget) {
  const LengthTable table = load("wikipedia");
  for (int seed = 0; seed < kSeeds; ++seed) {
    PlanRequest wanted = plan_request("megatron_dcp", draw(table, 64, seed), 8, 8);
    wanted.options.tokens_per_rank = kTokensPerRank;
    wanted.options.token_cap_per_rank = kTokensPerRank;  // held to the token by validation
    wanted.planner_mode = true;
    make_plan(wanted);
    wanted.options.policy = "megatron_dcp_main";
    EXPECT_GT(balance(make_plan(wanted), 64).tokens, 1);
  }
}

}  // namespace
}  // namespace ballast::scheduler
