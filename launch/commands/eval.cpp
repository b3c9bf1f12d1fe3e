// ballast eval: held-out loss of the newest checkpoint of a run.
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <ostream>

#include "launch/open_trained_model.h"
#include "launch/runtime_commands.h"
#include "runtime/data/bigram_baseline.h"
#include "runtime/eval/held_out.h"
#include "runtime/train/run_config.pb.h"

namespace ballast::launch {

int run_eval(const CommandLine& line, comm::Communicator& world) {
  const TrainedModel model = open_trained_model(line, world);
  train::Trainer& trainer = *model.trainer;
  const data::Corpus& corpus = trainer.corpus();
  const std::vector<data::Sequence> sequences = eval::held_out_sequences(corpus.held_out, model.config.run->eval().max_tokens());
  if (sequences.empty()) throw std::invalid_argument("data.held_out_fraction is 0: there is nothing to evaluate on");
  const data::PredictionScore score =
      eval::score_held_out(trainer.transformer(), trainer.mesh(), sequences, *corpus.tokenizer, trainer.planning());
  if (world.rank() != 0) return 0;

  const data::BigramBaseline baseline(corpus.train, corpus.tokenizer);
  data::PredictionScore bigram;
  for (const data::Sequence& sequence : sequences) bigram += baseline.score(sequence);
  if (line.json) {
    *line.output << nlohmann::ordered_json{{"checkpoint", model.checkpoint},
                                           {"step", model.step},
                                           {"sequences", sequences.size()},
                                           {"targets", score.num_targets},
                                           {"nats_per_token", score.nats_per_token()},
                                           {"bits_per_byte", score.bits_per_byte()},
                                           {"bigram_bits_per_byte", bigram.bits_per_byte()}}
                        .dump()
                 << "\n";
  } else {
    *line.output << fmt::format(
        "{} (step {})\n{} held-out sequences, {} targets: {:.4f} nats per token, {:.4f} bits per byte; byte bigram {:.4f}\n",
        model.checkpoint, model.step, sequences.size(), score.num_targets, score.nats_per_token(), score.bits_per_byte(),
        bigram.bits_per_byte());
  }
  return 0;
}

}  // namespace ballast::launch
