// Runs of equal layers.
#include "scheduler/sim/layer_runs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <numeric>
#include <string>

namespace ballast::scheduler {
namespace {

using testing::ElementsAre;

std::vector<LayerKind> kinds_of(const std::string& letters) {
  std::vector<LayerKind> kinds;
  for (const char c : letters) kinds.push_back({c == 'e' || c == 'f', c == 'f'});
  return kinds;
}

LayerRuns runs_of(const std::vector<LayerKind>& kinds, int most_repeats) {
  std::vector<int> order(kinds.size());
  std::iota(order.begin(), order.end(), 0);
  return layer_runs(kinds, order, most_repeats);
}

TEST(LayerRuns, EqualLayersAreARun) {
  const LayerRuns result = runs_of(kinds_of("deeeeeee"), 4);
  EXPECT_THAT(result.layers, ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(result.runs, ElementsAre(LayerRun{0, 1, 1, 0}, LayerRun{1, 1, 4, 3}));
  EXPECT_EQ(result.multiplicity(3), 1);
  EXPECT_EQ(result.multiplicity(4), 4);
}

TEST(LayerRuns, PatternsOfSeveralLayersToo) {
  const LayerRuns result = runs_of(kinds_of("effeffeffeffef"), 2);
  EXPECT_THAT(result.runs, ElementsAre(LayerRun{0, 3, 2, 2}, LayerRun{6, 1, 1, 0}, LayerRun{7, 1, 1, 0}));
  EXPECT_THAT(result.layers, ElementsAre(0, 1, 2, 3, 4, 5, 12, 13));
  EXPECT_EQ(result.multiplicity(4), 3);
}

TEST(LayerRuns, ZeroKeepsAll) { EXPECT_EQ(runs_of(kinds_of("dddddd"), 0).layers.size(), 6u); }

TEST(LayerRuns, EveryLayerCountsOnce) {
  EXPECT_TRUE(rc::check("multiplicities sum to the layers of each kind", [] {
    const auto letters = *rc::gen::container<std::string>(rc::gen::element('d', 'e', 'f'));
    const std::vector<LayerKind> kinds = kinds_of(letters);
    const LayerRuns result = runs_of(kinds, *rc::gen::inRange(0, 5));
    int num_layers = 0, num_foreign = 0;
    for (std::size_t i = 0; i < result.layers.size(); ++i) {
      const int times = result.multiplicity(static_cast<int>(i));
      num_layers += times;
      num_foreign += kinds[result.layers[i]].reads_foreign_keys ? times : 0;
    }
    RC_ASSERT(num_layers == static_cast<int>(letters.size()));
    RC_ASSERT(num_foreign == static_cast<int>(std::count(letters.begin(), letters.end(), 'f')));
  }));
}

}  // namespace
}  // namespace ballast::scheduler
