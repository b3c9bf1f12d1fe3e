#include "scheduler/cost/seconds.h"

#include <gtest/gtest.h>

#include <utility>

#include "tests/scheduler/published_costs.h"

namespace ballast::scheduler {
namespace {

ModelShape llama(std::int64_t hidden, std::int64_t layers, std::int64_t heads, std::int64_t intermediate) {
  ModelShape model;
  model.vocab_size = 32000;
  model.hidden_size = hidden;
  model.num_layers = model.num_dense_layers = layers;
  model.num_attention_heads = model.num_key_value_heads = heads;
  model.head_dim = hidden / heads;
  model.intermediate_size = intermediate;
  return model;
}

/// A pass that is left out, or pairs that are counted twice, would be off by more.
constexpr double kWithin = 1.4;

TEST(CostRates, RooflineIsNearPublishedFits) {
  // The rate of cluster A. The fits, of another machine, come to 154 to 181 TFLOP/s in attention and 216 to 252 in the rest.
  Topology topology = uniform_topology(1, Node{});
  topology.attention_flops_per_second = topology.linear_flops_per_second = 187.2e12;
  const std::pair<PublishedCost, ModelShape> cases[] = {{kFlexsp7b, llama(4096, 32, 32, 11008)},
                                                        {kFlexsp13b, llama(5120, 40, 40, 13824)},
                                                        {kFlexsp30b, llama(6656, 60, 52, 17920)}};
  for (const auto& [published, model] : cases) {
    const CostRates rates = cost_rates(model, topology);
    // A sequence has s^2 / 2 causal pairs.
    const double square = rates.pair_seconds / 2 * 1e3 / published.square_milliseconds;
    const double token = rates.token_seconds * 1e3 / published.token_milliseconds;
    EXPECT_GT(square, 1 / kWithin) << published.model;
    EXPECT_LT(square, kWithin) << published.model;
    EXPECT_GT(token, 1 / kWithin) << published.model;
    EXPECT_LT(token, kWithin) << published.model;
  }
}

}  // namespace
}  // namespace ballast::scheduler
