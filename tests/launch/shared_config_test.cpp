#include "launch/shared_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mutex>

#include "tests/support/run_ranks.h"

namespace ballast::launch {
namespace {

constexpr const char* kRun = BALLAST_SOURCE_DIR "/configs/runs/tiny.textproto";

TEST(SharedConfig, AllRanksHaveTheConfigOfRankZero) {
  std::mutex mutex;
  std::vector<LoadedConfig> configs(4);
  support::run_ranks(4, [&](comm::Communicator& world) {
    // Only rank 0 looks at files: the others would not find theirs.
    const std::string file = world.rank() == 0 ? kRun : "missing";
    const LoadedConfig config = load_config_on_all_ranks({.run_file = file, .set = {"optim.beta1=0.5"}, .world = 4}, world);
    const std::lock_guard lock(mutex);
    configs[static_cast<std::size_t>(world.rank())] = config;
  });
  const LoadedConfig alone = load_config({.run_file = kRun, .set = {"optim.beta1=0.5"}, .world = 4});
  for (const LoadedConfig& config : configs) {
    EXPECT_EQ(config.text, alone.text);
    EXPECT_EQ(config.hash, alone.hash);
  }
}

TEST(SharedConfig, AWrongFileIsReportedByRankZero) {
  try {
    support::run_ranks(3, [](comm::Communicator& world) { load_config_on_all_ranks({.run_file = "missing"}, world); });
    FAIL();
  } catch (const support::RankError& error) {
    EXPECT_STREQ(error.what(), "rank 0: cannot read missing: No such file or directory");
  }
}

}  // namespace
}  // namespace ballast::launch
