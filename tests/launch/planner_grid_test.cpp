#include "launch/planner_grid.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "scheduler/policy/registry.h"
#include "tests/support/text_corpus.h"

namespace ballast::launch {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class PlannerGrid : public ::testing::Test {
 protected:
  std::string file(const std::string& text) const {
    const std::string path = (folder_.path() / "grid.textproto").string();
    std::ofstream(path) << text;
    return path;
  }
  CommandLine line(const std::string& text) const {
    CommandLine line;
    line.arguments = {"planner", file(text)};
    return line;
  }
  static std::string message(const CommandLine& line) {
    try {
      load_planner_grid(line);
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "no error";
  }
  std::string message_of_set(const std::string& assignment) const {
    CommandLine set = line(kSmall);
    set.set = {assignment};
    return message(set);
  }
  static constexpr const char* kSmall = "cluster_files: \"c\"\nmodel_files: \"m\"\nlength_files: \"l\"\ngpus: 4\n";

  support::TemporaryFolder folder_;
};

TEST_F(PlannerGrid, BadGridsAreRefusedWithThePlace) {
  const auto refusal = [&](const std::string& text) { return message(line(text)); };
  EXPECT_THAT(refusal("gpu: 4\n"), HasSubstr("grid.textproto:1:1"));
  EXPECT_THAT(refusal("gpu: 4\n"), HasSubstr("gpus"));
  EXPECT_THAT(refusal("gpus: 4\n"), HasSubstr("cluster_files: give at least one"));
  EXPECT_THAT(refusal("gpus: 0\n"), HasSubstr("0 is not a number of ranks"));
  EXPECT_THAT(refusal("token_caps: 0.9\n"), HasSubstr("0.9 is below 1"));
  EXPECT_THAT(refusal("tensor_parallel: [1, 2]\n"), HasSubstr("2 degrees for 0 model files"));
  EXPECT_THAT(refusal("variants: { name: \"x\" }\n"), HasSubstr("policy"));
  EXPECT_THAT(refusal(kSmall + std::string("policies: \"te\"\n")), HasSubstr("unknown policy 'te'"));
  EXPECT_THAT(refusal(kSmall + std::string("policies: \"te_cp\"\nbaseline: \"te\"\n")),
              HasSubstr("grid.textproto:6:1: baseline: \"te\" is no row of the grid; choose one of \"te_cp\""));
  EXPECT_THAT(refusal(kSmall + std::string("policies: [\"te_cp\", \"te_cp\"]\n")), HasSubstr("two rows are called \"te_cp\""));
  CommandLine missing;
  missing.arguments = {"planner", "/nowhere.textproto"};
  EXPECT_THAT(message(missing), HasSubstr("cannot read /nowhere.textproto: No such file"));
  missing.arguments[1] = folder_.path().string();
  EXPECT_THAT(message(missing), HasSubstr("it is a folder"));
}

TEST_F(PlannerGrid, DefaultsOfWhatIsNotGiven) {
  const LoadedPlannerGrid loaded = load_planner_grid(line(kSmall));
  EXPECT_EQ(loaded.grid.cluster_files(0), (folder_.path() / "c").string());
  EXPECT_THAT(loaded.grid.token_caps(), ElementsAre(1.1));
  EXPECT_THAT(loaded.grid.tokens_per_step(), ElementsAre(0));
  EXPECT_EQ(loaded.rows.size(), scheduler::policies().size());
}

TEST_F(PlannerGrid, NeedsNoFile) {
  CommandLine parts;
  parts.arguments = {"planner"};
  parts.cluster_path = "c";
  parts.model_path = "m";
  EXPECT_THAT(message(parts), HasSubstr("give a grid as in configs/planner, a run file, or --cluster, --model and --lengths"));
  parts.lengths_path = "l";
  parts.set = {"seeds=2"};
  const LoadedPlannerGrid loaded = load_planner_grid(parts);
  EXPECT_THAT(loaded.grid.cluster_files(), ElementsAre("c"));
  EXPECT_THAT(loaded.grid.model_files(), ElementsAre("m"));
  EXPECT_THAT(loaded.grid.length_files(), ElementsAre("l"));
  EXPECT_EQ(loaded.grid.gpus_size(), 0);
  EXPECT_EQ(loaded.grid.seeds(), 2);
}

TEST_F(PlannerGrid, AssignmentsReachTheGridClusterAndModel) {
  CommandLine set = line(kSmall);
  set.set = {"seeds=3", "cluster.message_seconds=1e-5", "length_files=[\"x/y.csv\"]", "gpus=[16, 32]", "model.num_layers=2"};
  const LoadedPlannerGrid loaded = load_planner_grid(set);
  EXPECT_EQ(loaded.grid.seeds(), 3);
  EXPECT_THAT(loaded.grid.gpus(), ElementsAre(16, 32));
  EXPECT_THAT(loaded.grid.length_files(), ElementsAre("x/y.csv"));  // of where the command runs, not of the grid
  EXPECT_THAT(loaded.set, ElementsAre("cluster.message_seconds=1e-5", "model.num_layers=2"));
  EXPECT_THAT(loaded.set_numbers, ElementsAre(2, 5));
}

TEST_F(PlannerGrid, NothingGivenIsIgnored) {
  EXPECT_THAT(
      message_of_set("scheduler.token_cap_per_rank=100"),
      HasSubstr("--set #1:1: scheduler.token_cap_per_rank is not read by bench planner; the grid says it: set token_caps"));
  EXPECT_THAT(message_of_set("scheduler.remap=cluster"), HasSubstr("set remap of one of its variants"));
  EXPECT_THAT(message_of_set("optim.learning_rate=1"), HasSubstr("only fields of cluster, of model and of the grid are"));
  EXPECT_THAT(message_of_set("seed=1"), HasSubstr("unknown key \"seed\" in PlannerGrid"));
  EXPECT_THAT(message_of_set("seeds=0"), HasSubstr("--set #1:1: seeds = 0: at least 1 is wanted"));
  EXPECT_THAT(message_of_set("seeds"), HasSubstr("expected path=value"));
  CommandLine bench = line(kSmall);
  bench.bench = true;
  EXPECT_THAT(message(bench), HasSubstr("takes no --bench"));
}

TEST_F(PlannerGrid, FlagsReplaceLists) {
  CommandLine flags = line(
      "cluster_files: [\"c\", \"d\"]\nmodel_files: [\"m\", \"n\"]\ntensor_parallel: [1, 2]\nlength_files: \"l\"\n"
      "gpus: [4, 8]\npolicies: [\"te_cp\", \"ballast\"]\nbaseline: \"te_cp\"\n");
  EXPECT_FALSE(load_planner_grid(flags).lacks_baseline);
  flags.cluster_path = "e";
  flags.model_path = "elsewhere/n";
  flags.policy = "zeppelin";
  flags.world = 32;
  const LoadedPlannerGrid loaded = load_planner_grid(flags);
  EXPECT_THAT(loaded.grid.cluster_files(), ElementsAre("e"));
  EXPECT_THAT(loaded.grid.model_files(), ElementsAre("elsewhere/n"));
  EXPECT_THAT(loaded.grid.tensor_parallel(), ElementsAre(2));
  EXPECT_THAT(loaded.grid.gpus(), ElementsAre(32));
  ASSERT_EQ(loaded.rows.size(), 1u);
  EXPECT_EQ(loaded.rows[0].name(), "zeppelin");
  EXPECT_EQ(loaded.rows[0].remap(), "off");
  EXPECT_TRUE(loaded.lacks_baseline);
  flags.policy = "ballast,te_cp";
  EXPECT_EQ(load_planner_grid(flags).rows.size(), 2u);
  EXPECT_FALSE(load_planner_grid(flags).lacks_baseline);
  flags.policy = "ballast,te";
  EXPECT_THAT(message(flags), HasSubstr("unknown policy 'te'"));
}

TEST_F(PlannerGrid, ARunSaysWhatIsNotGiven) {
  CommandLine run = line("# A run.\n\nmodel_file: \"m\"\n");
  run.set = {"seeds=2", "scheduler.tokens_per_step=512", "cluster.message_seconds=0"};
  const LoadedPlannerGrid loaded = load_planner_grid(run);
  EXPECT_EQ(loaded.run_file, run.arguments[1]);
  EXPECT_EQ(loaded.grid.seeds(), 2);
  EXPECT_EQ(loaded.grid.cluster_files_size() + loaded.grid.token_caps_size() + loaded.grid.tokens_per_step_size(), 0);
  EXPECT_THAT(loaded.set, ElementsAre("scheduler.tokens_per_step=512", "cluster.message_seconds=0"));
  run.set = {"tokens_per_rank=64"};
  EXPECT_THAT(load_planner_grid(run).grid.tokens_per_step(), ElementsAre(0));
  run.set = {"scheduler.policy=te_cp"};
  EXPECT_THAT(message(run), HasSubstr("the grid says it: set policies"));
}

}  // namespace
}  // namespace ballast::launch
