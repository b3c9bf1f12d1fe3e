#include "launch/planner_inputs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <numeric>

#include "launch/config_file.h"
#include "tests/support/text_corpus.h"

namespace ballast::launch {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class PlannerInputsOf : public ::testing::Test {
 protected:
  std::string file(const std::string& name, const std::string& text) const {
    const std::string path = (folder_.path() / name).string();
    std::ofstream(path) << text;
    return path;
  }
  support::TemporaryFolder folder_;
  const std::string configs_ = BALLAST_SOURCE_DIR "/configs/";
};

TEST_F(PlannerInputsOf, AGridAreItsFiles) {
  LoadedPlannerGrid loaded;
  loaded.grid.add_cluster_files(configs_ + "clusters/cluster_a.textproto");
  loaded.grid.add_cluster_files(configs_ + "clusters/cluster_c.textproto");
  loaded.grid.add_model_files(configs_ + "models/llama_7b.textproto");
  loaded.grid.add_model_files(configs_ + "models/llama_13b.textproto");
  loaded.grid.add_tensor_parallel(1);
  loaded.grid.add_tensor_parallel(2);
  loaded.grid.set_seeds(2);
  loaded.grid.add_length_files(file("list.csv", "5\n7\n"));
  loaded.grid.add_length_files(file("bins.csv", "bin_lo_tokens,bin_hi_tokens,fraction\n64,128,1\n"));
  loaded.set = {"cluster.message_seconds=0.5"};
  const PlannerInputs inputs = planner_inputs(loaded);
  ASSERT_EQ(inputs.settings.size(), 4u);
  EXPECT_EQ(inputs.settings[1].cluster_name, "cluster_a");
  EXPECT_EQ(inputs.settings[1].model_name, "llama_13b");
  EXPECT_EQ(inputs.settings[1].degree, 2);
  EXPECT_EQ(inputs.settings[2].cluster_name, "cluster_c");
  EXPECT_EQ(inputs.settings[2].cluster.message_seconds, 0.5);
  EXPECT_EQ(inputs.settings[2].options.tokens_per_step, 0);
  ASSERT_EQ(inputs.lengths.size(), 2u);
  EXPECT_TRUE(inputs.lengths[0].is_list());
  EXPECT_THAT(inputs.lengths[0].batches(1000, loaded.grid), ElementsAre(ElementsAre(5, 7)));
  const auto drawn = inputs.lengths[1].batches(1000, loaded.grid);
  ASSERT_EQ(drawn.size(), 2u);
  EXPECT_NE(drawn[0], drawn[1]);
  EXPECT_EQ(std::accumulate(drawn[0].begin(), drawn[0].end(), std::int64_t{0}), 1000);
}

TEST_F(PlannerInputsOf, FindingsHaveTheNumbersOfTheCommandLine) {
  LoadedPlannerGrid loaded;
  loaded.grid.add_cluster_files(configs_ + "clusters/cluster_a.textproto");
  loaded.grid.add_model_files(configs_ + "models/llama_7b.textproto");
  loaded.set = {"cluster.message_seconds=-1", "model.layers=2", "cluster.nodes=1"};
  loaded.set_numbers = {2, 3, 5};
  try {
    planner_inputs(loaded);
    ADD_FAILURE() << "nothing was refused";
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("--set #2:9: cluster.message_seconds = -1"));
    EXPECT_THAT(error.what(), HasSubstr("--set #3:7: unknown key \"layers\""));
    EXPECT_THAT(error.what(), HasSubstr("--set #5:"));
  }
}

TEST_F(PlannerInputsOf, ARunHasItsOwn) {
  support::write_text_corpus(folder_.path() / "text", 40, 1);
  LoadedPlannerGrid loaded;
  loaded.grid.set_seeds(2);
  loaded.run_file = file("small.textproto", "model_file: \"" + configs_ + "models/tiny.textproto\"\ncluster_file: \"" + configs_ +
                                                "clusters/two_nodes_two_ranks.textproto\"\ndata { text_files { folder: \"" +
                                                (folder_.path() / "text").string() +
                                                "\" glob: \"*\" } held_out_fraction: 0 max_sequence_tokens: 128 }\n"
                                                "scheduler { tokens_per_step: 512 token_cap_per_rank: 200 }\n");
  const PlannerInputs inputs = planner_inputs(loaded);
  ASSERT_EQ(inputs.settings.size(), 1u);
  EXPECT_EQ(inputs.settings[0].cluster.num_ranks(), 4);
  EXPECT_EQ(inputs.settings[0].options.token_cap_per_rank, 200);
  ASSERT_EQ(inputs.lengths.size(), 1u);
  EXPECT_EQ(inputs.lengths[0].name, "small");
  const auto steps = inputs.lengths[0].batches(512, loaded.grid);
  ASSERT_EQ(steps.size(), 2u);
  EXPECT_NE(steps[0], steps[1]);
  for (const auto& step : steps) {
    const std::int64_t tokens = std::accumulate(step.begin(), step.end(), std::int64_t{0});
    EXPECT_LE(tokens, 512);
    EXPECT_GT(tokens, 512 - 128);
  }
}

}  // namespace
}  // namespace ballast::launch
