#include "scheduler/sim/layer_runs.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

namespace ballast::scheduler {

namespace {
constexpr int kLongestPeriod = 8;
}

std::vector<LayerKind> layer_kinds(const MicroBatch& micro_batch, const ModelShape& model) {
  const std::vector<int>& sources = micro_batch.kv_source_layer;
  if (static_cast<std::int64_t>(sources.size()) != model.num_layers) {
    throw std::invalid_argument(
        fmt::format("simulation: the plan names key/value sources of {} layers, the model has {}; plan for "
                    "the model that is simulated",
                    sources.size(), model.num_layers));
  }
  std::vector<LayerKind> kinds;
  for (int l = 0; l < static_cast<int>(sources.size()); ++l) {
    kinds.push_back({model.num_experts > 0 && l >= model.num_dense_layers, sources[l] != l});
  }
  return kinds;
}

int LayerRuns::multiplicity(int position) const {
  for (const LayerRun& run : runs) {
    const int begin_of_last = run.first + (run.num_simulated - 1) * run.period;
    if (position >= begin_of_last && position < begin_of_last + run.period) return 1 + run.num_skipped;
  }
  return 1;
}

LayerRuns layer_runs(const std::vector<LayerKind>& kinds, const std::vector<int>& order, int most_repeats) {
  LayerRuns result;
  const int num_layers = static_cast<int>(order.size());
  for (int begin = 0; begin < num_layers;) {
    int period = 1, repeats = 1;
    for (int p = 1; p <= kLongestPeriod; ++p) {
      int end = begin + p;
      while (end < num_layers && kinds[order[end]] == kinds[order[end - p]]) ++end;
      const int r = std::max(1, (end - begin) / p);
      if (r > 1 && r * p > repeats * period) {
        period = p;
        repeats = r;
      }
    }
    const int kept = most_repeats > 0 ? std::min(repeats, most_repeats) : repeats;
    result.runs.push_back({static_cast<int>(result.layers.size()), period, kept, repeats - kept});
    for (int i = 0; i < kept * period; ++i) result.layers.push_back(order[begin + i]);
    begin += repeats * period;
  }
  return result;
}

}  // namespace ballast::scheduler
