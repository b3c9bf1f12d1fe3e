// However the documents around it change, and with them the plan that cuts it: a document's outputs are its own.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "tests/agreement/training_trace.h"

namespace ballast {
namespace {

constexpr int kNumRanks = 4;
constexpr std::size_t kOurs = 2;
const std::vector<std::int64_t> kBefore = {50, 3, 61, 29, 17};
const std::vector<std::int64_t> kAfter = {15, 1, 61, 90, 33, 14, 20};

/// Where a plan of one micro-batch has the tokens of a document, by rank.
std::vector<std::vector<scheduler::Chunk>> cut_of(const scheduler::Plan& plan, std::size_t document) {
  std::vector<std::vector<scheduler::Chunk>> result;
  for (const auto& homes : plan.micro_batches.at(0).homes) {
    auto& own = result.emplace_back();
    for (const scheduler::Chunk& chunk : homes) {
      if (chunk.sequence == static_cast<std::int64_t>(document)) own.push_back(chunk);
    }
  }
  return result;
}

class Neighbours : public ::testing::TestWithParam<std::string> {};

TEST_P(Neighbours, ChangeNothingOfADocument) {
  at::set_num_threads(1);
  for (const char* router : {"topk", "bip_exact"}) {
    const agreement::TraceOptions options = agreement::under_policy(
        {.router = router, .ranks_per_node = 2, .num_attention_heads = 12, .num_key_value_heads = 12}, GetParam());
    const auto before = support::random_sequences(kBefore, 31, 1);
    auto after = support::random_sequences(kAfter, 31, 2);
    after[kOurs] = before[kOurs];
    if (options.is_capped && GetParam() != "te_cp") {  // which cuts every document over all ranks
      EXPECT_NE(cut_of(agreement::plan_of_documents(options, kNumRanks, kBefore), kOurs),
                cut_of(agreement::plan_of_documents(options, kNumRanks, kAfter), kOurs))
          << "the plans treat it alike: equality would prove little";
    }
    const std::vector<double> alone = agreement::token_losses(options, 1, {before[kOurs]}).at(0);
    for (const auto& documents : {before, after}) {
      const std::vector<double> among_others = agreement::token_losses(options, kNumRanks, documents).at(kOurs);
      ASSERT_EQ(among_others.size(), alone.size());
      for (std::size_t token = 0; token < alone.size(); ++token) {
        EXPECT_NEAR(among_others[token], alone[token], 1e-10 * alone[token]) << router << ", token " << token;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Local, Neighbours, ::testing::ValuesIn(agreement::policy_names()),
                         [](const ::testing::TestParamInfo<std::string>& name) { return name.param; });

}  // namespace
}  // namespace ballast
