#include "launch/planner_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ballast::launch {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(PlannerTable, ARowIsMeanAndWorst) {
  scheduler::PlannerScore score;
  score.num_micro_batches = 1;
  score.makespan_over_strict_bound = 1.2;
  score.makespan_over_best_bound = 1.1;
  score.is_exact = true;
  PlannerRow row;
  EXPECT_TRUE(row.is_empty());
  row.add(score);
  score.makespan_over_strict_bound = 1.4;
  score.makespan_over_best_bound = 1.3;
  row.add(score);
  EXPECT_FALSE(row.is_empty());
  EXPECT_THAT(row.text("te_cp", ""), ContainsRegex("^te_cp +1.300/1.400 +1.200/1.300 "));
  EXPECT_THAT(row.text("te_cp", ""), Not(HasSubstr("~")));
  score.is_exact = false;
  row.add(score);
  EXPECT_THAT(row.text("te_cp", ""), HasSubstr("  ~\n"));
}

TEST(PlannerTable, SaysWhyThereIsNothing) {
  EXPECT_THAT(PlannerRow().text("flexsp", "70 s for a batch"), ContainsRegex("^flexsp +n/a .*n/a  70 s for a batch\n$"));
  scheduler::PlannerScore refused;
  refused.refusal = "too large";
  PlannerRow row;
  row.add(refused);
  EXPECT_THAT(row.text("flexsp", ""), ContainsRegex("^flexsp +n/a .*  too large\n$"));
  EXPECT_THAT(row.text("flexsp", ""), Not(HasSubstr("~")));
}

TEST(PlannerTable, TheLegendNamesEveryColumn) {
  const std::string head = planner_table_head({"a", "m", "pile", 16, 65536, 1.1}, "5");
  EXPECT_THAT(head, HasSubstr("a, m, pile, 16 GPUs, 65536 tokens, cap 1.1: mean/worst of 5\n"));
  for (const char* column :
       {"makespan", "/ best bound", "no lin. ovl.", "imbalance", "attention", "tokens", "exposed", "planning ms"}) {
    EXPECT_THAT(head, HasSubstr(column));
    EXPECT_THAT(planner_table_legend(), HasSubstr(std::string("\n") + column + "  "));
  }
}

}  // namespace
}  // namespace ballast::launch
