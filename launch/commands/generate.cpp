// ballast generate: text from the newest checkpoint of a run.
#include "runtime/generate/generate.h"

#include <nlohmann/json.hpp>
#include <ostream>

#include "launch/open_trained_model.h"
#include "launch/runtime_commands.h"
#include "runtime/train/run_config.pb.h"

namespace ballast::launch {

int run_generate(const CommandLine& line, comm::Communicator& world) {
  const TrainedModel model = open_trained_model(line, world);
  train::Trainer& trainer = *model.trainer;
  const data::Tokenizer& tokenizer = *trainer.corpus().tokenizer;
  const std::string prompt = model.config.run->generate().prompt();
  const std::string text = generate::generate_text(trainer.transformer(), trainer.mesh(), tokenizer, prompt,
                                                   generate::sampling_options(*model.config.run, tokenizer));
  if (world.rank() != 0) return 0;
  if (line.json) {
    const nlohmann::ordered_json json = {
        {"checkpoint", model.checkpoint}, {"step", model.step}, {"prompt", prompt}, {"text", text}};
    *line.output << json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << "\n";
  } else {
    *line.output << prompt << text << "\n";
  }
  return 0;
}

}  // namespace ballast::launch
