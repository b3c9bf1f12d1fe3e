#include "runtime/eval/held_out.h"

#include <gtest/gtest.h>

#include <map>

#include "runtime/train/run_config.pb.h"
#include "runtime/train/trainer.h"
#include "tests/support/run_ranks.h"
#include "tests/support/text_corpus.h"

namespace ballast::eval {
namespace {

schema::RunConfig small_run(const std::filesystem::path& data) {
  schema::RunConfig config;
  schema::Model& model = *config.mutable_model();
  model.set_hidden_size(16);
  model.set_num_layers(2);
  model.set_num_attention_heads(2);
  model.set_num_key_value_heads(1);
  model.set_head_dim(8);
  model.set_intermediate_size(16);
  model.set_num_experts(4);
  model.set_expert_intermediate_size(8);
  model.set_compute_type(schema::FLOAT64);
  config.mutable_data()->mutable_text_files()->set_folder(data.string());
  config.mutable_data()->set_held_out_fraction(0.3);
  config.mutable_data()->set_max_sequence_tokens(100);
  config.mutable_scheduler()->set_tokens_per_step(200);
  config.mutable_cluster()->mutable_uniform()->set_num_nodes(1);
  return config;
}

TEST(HeldOut, ScoreDoesNotDependOnTheNumberOfRanks) {
  support::TemporaryFolder folder;
  support::write_text_corpus(folder.path(), 40, 2);
  std::map<int, data::PredictionScore> scores;
  for (const int ranks : {1, 2, 3}) {
    support::run_ranks(ranks, [&](comm::Communicator& world) {
      train::Trainer trainer(small_run(folder.path()), world);
      const std::vector<data::Sequence> sequences = held_out_sequences(trainer.corpus().held_out, 0);
      const data::PredictionScore score =
          score_held_out(trainer.transformer(), trainer.mesh(), sequences, *trainer.corpus().tokenizer, trainer.planning());
      if (world.rank() == ranks - 1) scores[ranks] = score;
    });
  }
  EXPECT_NEAR(scores[2].nats, scores[1].nats, 1e-10 * scores[1].nats);
  EXPECT_NEAR(scores[3].nats, scores[1].nats, 1e-10 * scores[1].nats);
  EXPECT_EQ(scores[2].num_targets, scores[1].num_targets);
  EXPECT_GT(scores[1].num_targets, scores[1].num_bytes) << "end marks are targets, not bytes";
}

TEST(HeldOut, TakesWholeSequencesWithinTheLimit) {
  support::TemporaryFolder folder;
  support::write_text_corpus(folder.path(), 40, 2);
  support::run_ranks(1, [&](comm::Communicator& world) {
    train::Trainer trainer(small_run(folder.path()), world);
    const data::SequenceSource& source = trainer.corpus().held_out;
    EXPECT_EQ(static_cast<std::int64_t>(held_out_sequences(source, 0).size()), source.num_sequences());
    EXPECT_EQ(held_out_sequences(source, 1).size(), 1U) << "at least one";
    std::int64_t num_tokens = 0;
    for (const data::Sequence& sequence : held_out_sequences(source, 250)) num_tokens += sequence.length();
    EXPECT_LE(num_tokens, 250);
    EXPECT_GT(num_tokens, 100);
  });
}

}  // namespace
}  // namespace ballast::eval
