#include "training_run.h"

#include <ATen/Parallel.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "runtime/checkpoint/load.h"
#include "tests/support/run_ranks.h"

namespace ballast::train {
namespace {

constexpr const char* kRunFile = R"(
model {
  name: "small" vocab_size: 264 hidden_size: 16 num_layers: 2 num_attention_heads: 2 num_key_value_heads: 1 head_dim: 8
  intermediate_size: 24 num_experts: 4 expert_intermediate_size: 8
}
data { text_files { folder: "FOLDER/data" } held_out_fraction: 0.2 max_sequence_tokens: 128 }
scheduler { tokens_per_step: 256 tokens_per_micro_batch: 128 }
train { run_folder: "FOLDER/run" total_tokens: 5000 }
optim { lr_schedule { warmup_steps: 4 } }
checkpoint { every_steps: 5 }
generate { prompt: "a " max_new_tokens: 8 }
cluster { uniform { num_nodes: 1 node { num_ranks: RANKS } } }
)";

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size()))
    text.replace(at, what.size(), by);
  return text;
}

}  // namespace

RunOutcome train_small(const std::filesystem::path& folder, int num_ranks, bool is_resumed, std::vector<std::string> set) {
  at::set_num_threads(1);
  const std::filesystem::path run_file = folder / "run.textproto";
  std::ofstream(run_file) << replaced(replaced(kRunFile, "FOLDER", folder.string()), "RANKS", std::to_string(num_ranks));
  const launch::LoadedConfig loaded = launch::load_run_config(run_file, set, num_ranks);
  const RunInput input = {
      .config = *loaded.run,
      .config_text = loaded.text,
      .config_hash = loaded.hash,
      .files = {{"config.resolved.textproto", loaded.text}},
      .describe_differences = [](const std::string&) { return std::string("the fields that differ"); },
      .stop_requested = [] { return checkpoint::StopRequest::kNone; },
      .next_command = [](const std::string& run_folder) { return "look at " + run_folder; },
  };
  RunOutcome outcome;
  std::ostringstream console;
  support::run_ranks(num_ranks, [&](comm::Communicator& world) {
    const checkpoint::ExitCode code = train(input, world, is_resumed, console);
    if (world.rank() == 0) outcome.exit_code = code;
  });
  outcome.console = console.str();
  return outcome;
}

std::string state_of_run(const std::filesystem::path& run_folder) {
  std::string state;
  support::run_ranks(1, [&](comm::Communicator& world) {
    const checkpoint::Found found = checkpoint::find_newest(world, run_folder / "checkpoints");
    const checkpoint::Manifest& manifest = found.checkpoint.value().manifest();
    state += "step " + std::to_string(manifest.point.step) + "\n";
    for (const checkpoint::StoredFile& file : manifest.files) state += file.name + " " + checkpoint::to_text(file.hash) + "\n";
  });
  std::ifstream metrics(run_folder / "metrics.jsonl");
  for (std::string line; std::getline(metrics, line);) {
    const nlohmann::json record = nlohmann::json::parse(line);
    state += record.at("step").dump() + " " + record.at("loss").dump() + " " + record.at("grad_norm").dump() + "\n";
  }
  return state;
}

}  // namespace ballast::train
