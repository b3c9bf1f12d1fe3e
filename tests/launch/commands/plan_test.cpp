#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "launch/commands.h"
#include "scheduler/policy/policy.h"
#include "tests/support/text_corpus.h"

namespace ballast::launch {
namespace {

using testing::HasSubstr;

/// `ballast plan` of one document of 4096 tokens and short ones for the quickstart's model, on `num_ranks` ranks.
std::string plan(int num_ranks, const std::string& policy) {
  const support::TemporaryFolder folder;
  std::ofstream(folder.path() / "cluster.textproto") << "uniform { num_nodes: 1 node { num_ranks: " << num_ranks << " } }\n";
  std::ofstream(folder.path() / "lengths.csv") << "4096\n500\n80\n1200\n300\n";
  const std::string cap = std::to_string(6176 * 3 / (2 * num_ranks));
  std::ostringstream output, errors;
  const Invocation invocation = parse_command_line(
      {"plan", "--cluster", (folder.path() / "cluster.textproto").string(), "--model",
       BALLAST_SOURCE_DIR "/configs/models/quickstart.textproto", "--lengths", (folder.path() / "lengths.csv").string(),
       "--policy", policy, "--set", "scheduler.tokens_per_step=8192", "--set", "scheduler.token_cap_per_rank=" + cap},
      output, errors);
  EXPECT_EQ(invocation.command->run(invocation.line), 0);
  return output.str();
}

TEST(Plan, UlyssesRunsWhereTheHeadsOfTheQuickstartAllow) {
  EXPECT_THAT(plan(2, "ulysses"), HasSubstr("policy ulysses, 2 ranks"));
}

TEST(Plan, UlyssesSaysWhyTheHeadsOfTheQuickstartAreTooFew) {
  EXPECT_THAT(plan(8, "ballast"), HasSubstr("policy ballast, 8 ranks"));
  try {
    plan(8, "ulysses");
    FAIL() << "two key/value heads were spread over eight ranks";
  } catch (const scheduler::InfeasiblePlan& refusal) {
    EXPECT_THAT(refusal.what(), HasSubstr("no group has room for sequence 0 of 4096 tokens: 4 query heads, 2 key/value heads and "
                                          "8 ranks allow 4 groups of 2 ranks"));
  }
}

}  // namespace
}  // namespace ballast::launch
