// Messages of one part hide behind work of another: what is held back here comes only when the work has been done meanwhile, so
// without the overlap nothing would go on.
#include <ATen/Parallel.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones_like.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "attention_of_ones.h"
#include "runtime/model/transformer.h"
#include "tests/support/hooked_communicator.h"
#include "tests/support/run_ranks.h"
#include "tests/support/sequence_views.h"

namespace ballast::model {
namespace {

using scheduler::AttentionTask;
using scheduler::Ring;
using scheduler::TaskSet;
using scheduler::TokenGroup;

/// Something that a rank waits for, but not for ever.
class Event {
 public:
  void happen() {
    const std::lock_guard lock(mutex_);
    has_happened_ = true;
    changed_.notify_all();
  }
  bool wait() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10), [this] { return has_happened_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool has_happened_ = false;
};

constexpr int kNumLayers = 3;

/// Ranks 0 and 1 share a node, rank 2 has its own. Rank 0 is home to document 0, whose attention rank 2 computes, and shares
/// document 1 with rank 1 in a ring.
scheduler::Plan plan() {
  scheduler::Plan plan;
  plan.lengths = {6, 10};
  scheduler::MicroBatch& batch = plan.micro_batches.emplace_back();
  batch.sequences = {0, 1};
  batch.work = {TaskSet{{AttentionTask{0, 2, {{0, 0, 6}}}}}, Ring{1, {0, 1}, {5, 5}}};
  // Ready tokens of rank 0 on both sides of the late ones.
  batch.homes = {{{1, 0, 3}, {0, 0, 6}, {1, 8, 10}}, {{1, 3, 8}}, {}};
  for (int layer = 0; layer < kNumLayers; ++layer) batch.kv_source_layer.push_back(layer);
  return plan;
}

PackOptions pack_options() { return {{4, 2}, {0, 0, 1}}; }

ModelConfig config() {
  ModelConfig config;
  config.vocab_size = 17;
  config.hidden_size = 12;
  config.num_layers = kNumLayers;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 4;
  config.intermediate_size = 10;
  config.num_dense_layers = kNumLayers;
  config.initializer_range = 0.3;
  config.dtype = at::kDouble;
  return config;
}

struct StepOutcome {
  double loss = 0;
  at::Tensor gradients;
};

/// Forward and backward of the plan on three ranks. Hooks by rank see the exchanges, and which pass it is.
using PassHook = std::function<void(scheduler::Pass pass, int part, std::span<const comm::Send> sends)>;
std::vector<StepOutcome> run_step(const std::vector<PassHook>& hooks) {
  std::vector<StepOutcome> outcomes(3);
  support::run_ranks(3, [&](comm::Communicator& world) {
    at::set_num_threads(1);
    const auto rank = static_cast<std::size_t>(world.rank());
    scheduler::Pass pass = scheduler::Pass::kForward;
    support::HookedCommunicator hooked(world, [&](int part, std::span<const comm::Send> sends, auto) {
      if (hooks[rank] && !sends.empty()) hooks[rank](pass, part, sends);
    });
    const comm::Mesh mesh(hooked, 1);
    metrics::PhaseClock clock;
    Transformer transformer(config(), mesh, 7, clock);
    const scheduler::Plan one = plan();
    const auto sequences = support::random_sequences(one.lengths, config().vocab_size, 3);
    const PackedBatch batch = pack(one, 0, world.rank(), support::views(sequences), pack_options());
    Activations activations;
    outcomes[rank].loss = transformer.forward(batch, 1, activations);
    pass = scheduler::Pass::kBackward;
    transformer.backward(batch, activations);
    outcomes[rank].gradients = transformer.parameters().dense().gradients;
  });
  return outcomes;
}

TEST(TokenGroups, LateRowsComeFirstAndTogether) {
  const AttentionProgram program(plan().micro_batches[0], {4, 2}, {0, 0, 1}, 0, TaskOrder::kWorkConserving);
  EXPECT_EQ(program.blocks().size(), 2u);
  EXPECT_EQ(program.rows(TokenGroup::kLate).num(), 6);
  EXPECT_EQ(program.rows(TokenGroup::kReady).begin, 6);
  EXPECT_EQ(program.rows(TokenGroup::kReady).num(), 5);
  EXPECT_EQ(program.chunks_by_row(), (std::vector<scheduler::Chunk>{{0, 0, 6}, {1, 0, 3}, {1, 8, 10}}));
}

TEST(TokenGroups, PartOfAHomeChunkCanBeLate) {
  scheduler::MicroBatch batch;
  batch.sequences = {0};
  batch.work = {TaskSet{{{0, 0, {{0, 0, 2}, {0, 5, 8}}}, {0, 1, {{0, 2, 5}}}}}};
  batch.homes = {{{0, 0, 8}}, {}};
  batch.kv_source_layer = {0};
  const AttentionProgram program(batch, {4, 2}, {0, 0}, 0, TaskOrder::kWorkConserving);
  EXPECT_EQ(program.chunks_by_row(), (std::vector<scheduler::Chunk>{{0, 2, 5}, {0, 0, 2}, {0, 5, 8}}));
  std::vector<std::int64_t> rows;
  program.for_each_run({0, 1, 7}, [&](std::int64_t row, std::int64_t token, std::int64_t num_tokens) {
    rows.insert(rows.end(), {row, token, num_tokens});
  });
  EXPECT_EQ(rows, (std::vector<std::int64_t>{4, 0, 1, 0, 1, 3, 5, 4, 2}));
  EXPECT_THROW(program.for_each_run({0, 7, 9}, [](auto...) {}), c10::Error);
  EXPECT_EQ(AttentionProgram(batch, {4, 2}, {0, 0}, 1, TaskOrder::kStrict).blocks().size(), 1u) << "a rank without tokens";
}

TEST(RowBlocks, AreShortWhereARankExchangesAndWholeElsewhere) {
  const auto borders = [](const AttentionProgram& program) {
    std::vector<std::int64_t> result;
    for (const RowBlock& block : program.blocks()) {
      EXPECT_EQ(block.index, static_cast<int>(&block - program.blocks().data()));
      result.insert(result.end(), {block.rows.begin, block.rows.end});
    }
    return result;
  };
  scheduler::MicroBatch batch = plan().micro_batches[0];
  const auto program = [&](int rank, std::int64_t most) {
    return AttentionProgram(batch, {4, 2}, {0, 0, 1}, rank, TaskOrder::kWorkConserving, most);
  };
  EXPECT_EQ(borders(program(0, 4)), (std::vector<std::int64_t>{0, 3, 3, 6, 6, 8, 8, 11}));
  EXPECT_EQ(borders(program(0, 0)), (std::vector<std::int64_t>{0, 6, 6, 11}));
  EXPECT_EQ(borders(program(1, 4)), (std::vector<std::int64_t>{0, 2, 2, 5}));
  EXPECT_EQ(borders(program(2, 4)), (std::vector<std::int64_t>{0, 0})) << "computes, but has no rows";
  batch.work = {Ring{0, {0}, {6}}, Ring{1, {1}, {10}}};
  batch.homes = {{{0, 0, 6}}, {{1, 0, 10}}, {}};
  EXPECT_EQ(borders(program(1, 4)), (std::vector<std::int64_t>{0, 10})) << "nothing of it travels";
}

/// Rank 2 keeps its first answer to rank 0 in a pass until rank 0 has sent something of its ready tokens in the second attention
/// of that pass, for which these had to go through the linear work of a layer.
void expect_ready_tokens_do_not_wait(scheduler::Pass pass, int num_near_sends_per_layer) {
  Event has_moved_on;
  bool was_in_time = false;
  std::vector<PassHook> hooks(3);
  hooks[0] = [&, num_sends = 0](scheduler::Pass now, int part, auto) mutable {
    if (now != pass || part != comm::Mesh::kNearPart) return;
    if (++num_sends == num_near_sends_per_layer + 1) has_moved_on.happen();
  };
  hooks[2] = [&, num_sends = 0](scheduler::Pass now, int part, auto) mutable {
    if (now == pass && part == 0 && ++num_sends == 1) was_in_time = has_moved_on.wait();
  };
  const std::vector<StepOutcome> held = run_step(hooks);
  EXPECT_TRUE(was_in_time);
  const std::vector<StepOutcome> free = run_step({{}, {}, {}});
  for (std::size_t rank = 0; rank < 3; ++rank) {
    EXPECT_EQ(held[rank].loss, free[rank].loss);
    EXPECT_TRUE(held[rank].gradients.equal(free[rank].gradients)) << "the same bits, whatever the timing; rank " << rank;
  }
}

TEST(Overlap, ReadyTokensGoThroughALayerWhileOutputsOfLateOnesAreAwaited) {
  expect_ready_tokens_do_not_wait(scheduler::Pass::kForward, 1);  // keys of the ring
}

TEST(Overlap, ReadyTokensGoThroughALayerWhileGradientsOfLateOnesAreAwaited) {
  expect_ready_tokens_do_not_wait(scheduler::Pass::kBackward, 2);  // keys of the ring, and their gradients
}

/// Rank 1 computes the attention of rank 0's document, and keeps the result until rank 0 has done its other work.
TEST(Overlap, OtherWorkRunsWhileNothingElseIsReady) {
  scheduler::MicroBatch batch;
  batch.sequences = {0};
  batch.work = {TaskSet{{{0, 1, {{0, 0, 4}}}}}};
  batch.homes = {{{0, 0, 4}}, {}};
  batch.kv_source_layer = {0};
  Event has_worked;
  bool was_in_time = false;
  support::run_ranks(2, [&](comm::Communicator& world) {
    support::HookedCommunicator hooked(world, [&](int, std::span<const comm::Send> sends, auto) {
      if (world.rank() == 1 && !sends.empty()) was_in_time = has_worked.wait();
    });
    const std::unique_ptr<comm::Communicator> near = hooked.split(0, world.rank());
    const AttentionChannels channels{hooked, *near};
    const AttentionProgram program(batch, {2, 1}, {0, 1}, world.rank(), TaskOrder::kWorkConserving);
    HomeAttention attention = attention_of_ones(program);
    metrics::PhaseClock clock;
    int num_calls = 0;
    LayerPipeline pipeline(program.blocks(), clock, [&] {
      if (world.rank() == 0 && ++num_calls == 2) has_worked.happen();
      return world.rank() == 0 && num_calls <= 2;
    });
    pipeline.run({AttentionStage{[&] { return attention_forward(program, channels, 1, attention, attention); }}});
    EXPECT_TRUE(at::equal(attention.o_TNH, at::ones_like(attention.o_TNH)));
  });
  EXPECT_TRUE(was_in_time);
}

TEST(LayerPipeline, LateRowsGoBeforeReadyBlocksThatAreLeft) {
  scheduler::MicroBatch batch;
  batch.sequences = {0, 1};
  batch.work = {TaskSet{{{0, 1, {{0, 0, 4}}}}}, Ring{1, {0}, {12}}};
  batch.homes = {{{1, 0, 12}, {0, 0, 4}}, {}};
  batch.kv_source_layer = {0};
  Event first_has_run, has_sent;
  std::vector<int> order;
  support::run_ranks(2, [&](comm::Communicator& world) {
    support::HookedCommunicator hooked(world, [&](int, std::span<const comm::Send> sends, auto) {
      if (world.rank() == 1 && !sends.empty()) first_has_run.wait();
    });
    const std::unique_ptr<comm::Communicator> near = hooked.split(0, world.rank());
    const AttentionChannels channels{hooked, *near};
    const AttentionProgram program(batch, {2, 1}, {0, 1}, world.rank(), TaskOrder::kWorkConserving, 4);
    HomeAttention attention = attention_of_ones(program);
    metrics::PhaseClock clock;
    LayerPipeline(program.blocks(), clock)
        .run({AttentionStage{[&] { return attention_forward(program, channels, 1, attention, attention); }},
              RowStage{[&](const RowBlock& block) {
                if (world.rank() == 1) return;
                order.push_back(block.index);
                if (block.index == 1) first_has_run.happen();
                if (block.index == 2) has_sent.wait();
              }}});
    if (world.rank() == 1) has_sent.happen();
  });
  EXPECT_EQ(order, (std::vector{1, 2, 0, 3}));
}

TEST(LayerPipeline, JointStagesWaitForTheAttentionOfOthers) {
  // Rank 1 has no tokens and is at the joint stage at once, but it computes for rank 0, which sends when rank 1 has nothing to
  // do.
  scheduler::MicroBatch batch;
  batch.sequences = {0};
  batch.work = {TaskSet{{{0, 1, {{0, 0, 4}}}}}};
  batch.homes = {{{0, 0, 4}}, {}};
  batch.kv_source_layer = {0};
  Event is_idle;
  bool was_in_time = false;
  support::run_ranks(
      2,
      [&](comm::Communicator& world) {
        support::HookedCommunicator hooked(world, [&](int, std::span<const comm::Send> sends, auto) {
          if (world.rank() == 0 && !sends.empty()) was_in_time = is_idle.wait();
        });
        const std::unique_ptr<comm::Communicator> near = hooked.split(0, world.rank());
        const AttentionChannels channels{hooked, *near};
        const AttentionProgram program(batch, {2, 1}, {0, 1}, world.rank(), TaskOrder::kWorkConserving);
        HomeAttention attention = attention_of_ones(program);
        metrics::PhaseClock clock;
        const auto note_idleness = [&] {
          if (world.rank() == 1) is_idle.happen();
          return false;
        };
        LayerPipeline(program.blocks(), clock, note_idleness)
            .run({AttentionStage{[&] { return attention_forward(program, channels, 1, attention, attention); }},
                  JointStage{[&] { world.barrier(); }}});
      },
      std::chrono::seconds(20));
  EXPECT_TRUE(was_in_time);
}

TEST(LayerPipeline, RankThatDoesNotAnswerIsNamed) {
  scheduler::MicroBatch batch;
  batch.sequences = {0};
  batch.work = {TaskSet{{{0, 2, {{0, 0, 4}}}}}};
  batch.homes = {{{0, 0, 4}}, {}, {}};
  batch.kv_source_layer = {0};
  Event is_over;
  std::string text;
  support::run_ranks(
      3,
      [&](comm::Communicator& world) {
        const std::unique_ptr<comm::Communicator> near = world.split(0, world.rank());
        if (world.rank() > 0) {
          is_over.wait();
          return;
        }
        const AttentionChannels channels{world, *near};
        const AttentionProgram program(batch, {2, 1}, {0, 0, 1}, world.rank(), TaskOrder::kWorkConserving);
        HomeAttention attention = attention_of_ones(program);
        metrics::PhaseClock clock;
        try {
          LayerPipeline(program.blocks(), clock).run({AttentionStage{[&] {
            return attention_forward(program, channels, 1, attention, attention);
          }}});
        } catch (const comm::CommError& error) {
          text = error.what();
        }
        is_over.happen();
      },
      std::chrono::milliseconds(100));
  EXPECT_THAT(text, testing::HasSubstr("no answer from rank 2 within 0.1 s"));
}

/// Rank 3 of one ring stops when it is about to pass on the block that it got from rank 2. Who waits for that block gets it from
/// rank 3, or from a rank that waits itself; its way names rank 3 all the same.
TEST(LayerPipeline, RankThatStopsInsideARingIsNamedByWhoeverWaitsFirst) {
  scheduler::MicroBatch batch;
  batch.sequences = {0};
  batch.work = {Ring{0, {0, 1, 2, 3}, {5, 5, 5, 5}}};
  batch.homes = {{{0, 0, 3}, {0, 18, 20}}, {{0, 3, 6}, {0, 16, 18}}, {{0, 6, 9}, {0, 14, 16}}, {{0, 9, 14}}};
  batch.kv_source_layer = {0};
  Event is_over;
  std::mutex mutex;
  std::vector<std::string> texts;
  support::run_ranks(
      4,
      [&](comm::Communicator& world) {
        support::HookedCommunicator hooked(world, [&, num_sends = 0](int, std::span<const comm::Send> sends, auto) mutable {
          if (world.rank() != 3 || sends.empty() || ++num_sends < 2) return;
          is_over.wait();
          throw std::runtime_error("stopped");
        });
        const std::unique_ptr<comm::Communicator> near = hooked.split(0, world.rank());
        const AttentionChannels channels{hooked, *near};
        const AttentionProgram program(batch, {2, 1}, {0, 0, 1, 1}, world.rank(), TaskOrder::kWorkConserving);
        HomeAttention attention = attention_of_ones(program);
        metrics::PhaseClock clock;
        try {
          LayerPipeline(program.blocks(), clock).run({AttentionStage{[&] {
            return attention_forward(program, channels, 1, attention, attention);
          }}});
        } catch (const comm::DeadlineError& error) {
          const std::lock_guard lock(mutex);
          texts.emplace_back(error.what());
          is_over.happen();
        } catch (const std::exception&) {  // lost a rank that waited in vain, or is rank 3
        }
      },
      std::chrono::seconds(1));
  ASSERT_FALSE(texts.empty());
  for (const std::string& text : texts) {
    EXPECT_THAT(text, testing::ContainsRegex("no answer from rank [0-3] within 1 s.*Attention waits for rotate [23] of sequence "
                                             "0, heads .0, 2., on ranks 0, 1, 2, 3: tokens .* by way of ranks .*3"));
  }
}

TEST(LayerPipeline, ReadyRowsGoFirstWhereOneOrderIsWanted) {
  metrics::PhaseClock clock;
  std::vector<int> any, ordered;
  bool is_after_all = false;
  const std::vector<RowBlock> blocks{
      {0, TokenGroup::kLate, {0, 1}}, {1, TokenGroup::kReady, {1, 2}}, {2, TokenGroup::kReady, {2, 3}}};
  LayerPipeline(blocks, clock)
      .run({RowStage{[&](const RowBlock& block) { any.push_back(block.index); }, [&] { is_after_all = any.size() == 3; }},
            RowStage{.run = [&](const RowBlock& block) { ordered.push_back(block.index); }, .is_ready_first = true}});
  EXPECT_EQ(any, (std::vector{0, 1, 2}));
  EXPECT_TRUE(is_after_all);
  EXPECT_EQ(ordered, (std::vector{1, 2, 0}));
}

}  // namespace
}  // namespace ballast::model
