#include "runtime/model/transformer.h"

#include <ATen/ops/allclose.h>
#include <gtest/gtest.h>

#include "reference_transformer.h"
#include "runtime/comm/local_communicator.h"
#include "scheduler/plan/plan.h"
#include "tests/support/sequence_views.h"

namespace ballast::model {
namespace {

ModelConfig tiny_config() {
  ModelConfig config;
  config.vocab_size = 17;
  config.hidden_size = 12;
  config.num_layers = 3;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 4;
  config.intermediate_size = 10;
  config.num_dense_layers = 1;
  config.num_experts = 4;
  config.experts_per_token = 2;
  config.num_shared_experts = 1;
  config.expert_intermediate_size = 6;
  config.attention_bias = true;
  config.initializer_range = 0.3;
  config.routed_scaling_factor = 1.5;
  config.dtype = at::kDouble;
  return config;
}

/// One rank's model and a batch of given document lengths.
struct Fixture {
  explicit Fixture(const ModelConfig& config, std::vector<std::int64_t> lengths = {5, 1, 9, 2})
      : world(std::move(comm::make_local_world(1).front())), mesh(*world, 1), transformer(config, mesh, 7, clock) {
    plan.lengths = lengths;
    scheduler::MicroBatch batch;
    batch.homes.resize(1);
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      batch.sequences.push_back(static_cast<std::int64_t>(i));
      batch.work.push_back(scheduler::Ring{static_cast<std::int64_t>(i), {0}, {lengths[i]}});
      batch.homes[0].push_back({static_cast<std::int64_t>(i), 0, lengths[i]});
    }
    for (int layer = 0; layer < config.num_layers; ++layer) batch.kv_source_layer.push_back(layer);
    plan.micro_batches.push_back(batch);
    sequences = support::random_sequences(lengths, config.vocab_size, 3);
  }
  PackedBatch packed() const { return pack(plan, 0, 0, support::views(sequences), options); }
  PackOptions options{{4, 2}, {0}};

  std::unique_ptr<comm::Communicator> world;
  comm::Mesh mesh;
  metrics::PhaseClock clock;
  Transformer transformer;
  scheduler::Plan plan;
  std::vector<support::RandomSequence> sequences;
};

void expect_gradients_equal_autograd(const ModelConfig& config, std::vector<int> kv_source_layer = {}) {
  Fixture fixture(config);
  if (!kv_source_layer.empty()) fixture.plan.micro_batches[0].kv_source_layer = kv_source_layer;
  const PackedBatch batch = fixture.packed();
  const double scale = 0.25;
  Activations activations;
  const double loss = fixture.transformer.forward(batch, scale, activations);
  std::map<std::int64_t, at::Tensor> expert_TK;
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
    if (const auto* moe = std::get_if<MoeActivations>(&activations.layers[static_cast<std::size_t>(layer)].feed_forward)) {
      expert_TK[layer] = at::empty_like(moe->expert_TK).copy_(moe->expert_TK);
    }
  }
  fixture.transformer.backward(batch, activations);

  reference::Transformer reference(config, fixture.transformer.parameters());
  const at::Tensor expected = reference.losses(batch, expert_TK).sum();
  EXPECT_NEAR(loss, expected.item<double>(), 1e-11 * std::abs(loss));
  (expected * scale).backward();
  for (const auto& [name, leaf] : reference.leaves) {
    const at::Tensor gradient = fixture.transformer.parameters().weight(name).gradient;
    const at::Tensor wanted = leaf.grad().defined() ? leaf.grad() : at::zeros_like(gradient);
    const double scale_of_tensor = wanted.abs().max().item<double>() + 1e-30;
    EXPECT_LT((gradient - wanted).abs().max().item<double>() / scale_of_tensor, 1e-10) << name;
  }
}

TEST(Transformer, GradientsEqualAutograd) { expect_gradients_equal_autograd(tiny_config()); }

TEST(Transformer, GradientsEqualAutogradWithTopkTiedHeadAndPlainHeads) {
  ModelConfig config = tiny_config();
  config.router.name = "topk";
  config.tie_word_embeddings = true;
  config.use_qk_norm = false;
  config.attention_bias = false;
  config.norm_topk_prob = false;
  expect_gradients_equal_autograd(config);
}

TEST(Transformer, GradientsEqualAutogradWhenLayersReadEarlierKeys) { expect_gradients_equal_autograd(tiny_config(), {0, 1, 1}); }
TEST(Transformer, GradientsEqualAutogradWhenAllLayersReadTheFirst) { expect_gradients_equal_autograd(tiny_config(), {0, 0, 0}); }

TEST(Transformer, KeysThatNobodyMadeAreRefused) {
  Fixture fixture(tiny_config());
  Activations activations;
  for (const std::vector<int>& sources : {std::vector{0, 2, 2}, std::vector{0, 0, 1}, std::vector{0, 1, -1}}) {
    fixture.plan.micro_batches[0].kv_source_layer = sources;
    EXPECT_THROW(fixture.transformer.forward(fixture.packed(), 1, activations), c10::Error);
  }
}

TEST(Transformer, EmptyBatchGivesZeroLossAndZeroGradients) {
  Fixture fixture(tiny_config(), {});
  Activations activations;
  EXPECT_EQ(fixture.transformer.forward(fixture.packed(), 1, activations), 0);
  fixture.transformer.backward(fixture.packed(), activations);
  EXPECT_EQ(fixture.transformer.parameters().dense().gradients.abs().max().item<double>(), 0);
  EXPECT_EQ(fixture.transformer.parameters().experts().gradients.abs().max().item<double>(), 0);
}

TEST(Transformer, PackedDocumentsEqualSeparateOnes) {
  for (const char* router : {"topk", "bip_exact"}) {
    ModelConfig config = tiny_config();
    config.router.name = router;
    Fixture packed(config, {5, 1, 9, 2});
    // Train once, so that the frozen bias of bip_exact is not zero.
    Activations activations;
    packed.transformer.forward(packed.packed(), 1, activations);
    for (Router* layer : packed.transformer.routers()) {
      if (layer) layer->commit(0);
    }
    const at::Tensor together = packed.transformer.evaluate(packed.packed());
    std::int64_t first_row = 0;
    for (std::size_t document = 0; document < packed.plan.lengths.size(); ++document) {
      scheduler::Plan alone = packed.plan;
      alone.micro_batches[0].sequences = {static_cast<std::int64_t>(document)};
      alone.micro_batches[0].work = {packed.plan.micro_batches[0].work[document]};
      alone.micro_batches[0].homes[0] = {packed.plan.micro_batches[0].homes[0][document]};
      const at::Tensor separate =
          packed.transformer.evaluate(pack(alone, 0, 0, support::views(packed.sequences), packed.options));
      const at::Tensor part = together.narrow(0, first_row, packed.plan.lengths[document]);
      first_row += packed.plan.lengths[document];
      EXPECT_TRUE(at::allclose(separate, part, 1e-10, 0)) << router << " document " << document;
    }
  }
}

TEST(Transformer, NeighboursOfADocumentChangeNothing) {
  for (const char* router : {"topk", "bip_exact"}) {
    ModelConfig config = tiny_config();
    config.router.name = router;
    Fixture fixture(config, {6, 8, 5});
    const at::Tensor before = fixture.transformer.evaluate(fixture.packed());
    for (const std::size_t neighbour : {0, 2}) {
      for (std::int32_t& token : fixture.sequences[neighbour].tokens) token = (token + 5) % 17;
    }
    const at::Tensor after = fixture.transformer.evaluate(fixture.packed());
    EXPECT_TRUE(at::allclose(before.narrow(0, 6, 8), after.narrow(0, 6, 8), 1e-10, 0)) << router;
    EXPECT_FALSE(at::allclose(before.narrow(0, 0, 6), after.narrow(0, 0, 6), 1e-3, 0)) << router;
  }
}

}  // namespace
}  // namespace ballast::model
