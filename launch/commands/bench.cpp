// ballast bench: which benchmark; and bench step: how fast training steps are, and where their time goes.
#include "launch/commands/bench.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <ostream>

#include "launch/any_world_config.h"
#include "launch/planning_input.h"
#include "launch/runtime_commands.h"
#include "runtime/comm/broadcast_text.h"
#include "runtime/train/run_config.pb.h"
#include "runtime/train/step_benchmark.h"
#include "runtime/train/timed_step.h"
#include "scheduler/cost/flops.h"

namespace ballast::launch {
namespace {

constexpr int kWarmUpSteps = 3;
constexpr int kSteps = 30;

int run_bench_step(const CommandLine& line, comm::Communicator& world) {
  const LoadedConfig loaded = load_config_for_any_world(line.arguments[1], line, world);
  train::Trainer trainer(*loaded.run, world);
  const train::StepBenchmark result = train::benchmark_steps(trainer, kWarmUpSteps, kSteps);
  if (world.rank() != 0) return 0;

  if (line.json) {
    nlohmann::ordered_json json = {{"benchmark", "step"},
                                   {"run", line.arguments[1]},
                                   {"ranks", world.size()},
                                   {"threads_per_rank", result.num_threads_per_rank},
                                   {"steps", result.num_steps},
                                   {"tokens", result.tokens},
                                   {"tokens_per_second", result.tokens_per_second},
                                   {"step_seconds_median", result.step_seconds_median},
                                   {"flops_formula", scheduler::kFlopsFormula},
                                   {"flops_per_second", result.flops_per_second},
                                   {"gemm_flops_per_second_before", result.gemm_rate_before},
                                   {"gemm_flops_per_second_after", result.gemm_rate_after},
                                   {"mfu", result.mfu},
                                   {"noisy", result.is_noisy}};
    for (std::size_t phase = 0; phase < metrics::kNumPhases; ++phase) {
      json["phase_fraction"][name(static_cast<metrics::StepPhase>(phase))] = result.phase_fraction[phase];
    }
    *line.output << json.dump() << "\n";
    return 0;
  }
  *line.output << fmt::format("{} ranks x {} threads, {} steps, {} tokens\n", world.size(), result.num_threads_per_rank,
                              result.num_steps, result.tokens)
               << fmt::format("  {:.0f} tokens/s, {:.1f} ms per step (median)\n", result.tokens_per_second,
                              1e3 * result.step_seconds_median)
               << fmt::format("  {:.1f} GFLOP/s (formula {}), GEMM rate {:.1f} before, {:.1f} after: MFU {:.1f} %{}\n",
                              result.flops_per_second / 1e9, scheduler::kFlopsFormula, result.gemm_rate_before / 1e9,
                              result.gemm_rate_after / 1e9, 100 * result.mfu,
                              result.is_noisy ? " (noisy: the GEMM rate moved)" : "");
  for (std::size_t phase = 0; phase < metrics::kNumPhases; ++phase) {
    *line.output << fmt::format("  {:<14} {:5.1f} %\n", name(static_cast<metrics::StepPhase>(phase)),
                                100 * result.phase_fraction[phase]);
  }
  return 0;
}

}  // namespace

std::vector<data::Sequence> batch_of(const CommandLine& line, std::uint64_t seed, train::Trainer& trainer) {
  if (line.lengths_path.empty()) return trainer.plan_step(0, 0).sequences;
  std::string text;
  if (trainer.world().rank() == 0) {
    const scheduler::BatchRequest request{.num_tokens = trainer.planning().options.tokens_per_step, .seed = seed};
    text = nlohmann::json(scheduler::draw_batch(load_length_table(line.lengths_path), request)).dump();
  }
  const auto lengths =
      nlohmann::json::parse(comm::broadcast_text(trainer.world(), std::move(text), 0)).get<std::vector<std::int64_t>>();
  return train::random_sequences(lengths, trainer.planning().model.vocab_size, seed);
}

nlohmann::ordered_json cores_json(const train::CoreShare& cores) {
  return {{"ranks_of_machine", cores.num_ranks},
          {"threads_per_rank", cores.num_threads_per_rank},
          {"cores", cores.num_cores},
          {"threads_per_core", cores.threads_per_core()}};
}

std::string cores_text(const train::CoreShare& cores) {
  return fmt::format(
      "{} ranks x {} threads on {} cores: {:.2f} threads per core{}\n", cores.num_ranks, cores.num_threads_per_rank,
      cores.num_cores, cores.threads_per_core(),
      cores.threads_per_core() > 1 ? "; ranks take turns, so a step lasts longer than its fullest rank works" : "");
}

int run_bench(const CommandLine& line, comm::Communicator& world) {
  const std::string& benchmark = line.arguments[0];
  if (benchmark != "step" && benchmark != "policies" && benchmark != "calibrate") {
    throw UsageError(
        fmt::format("ballast bench: there is no benchmark \"{}\"; choose one of step, policies, calibrate, planner", benchmark));
  }
  if (line.arguments.size() < 2) throw UsageError(fmt::format("usage: ballast bench {} <run.textproto>", benchmark));
  if (benchmark == "policies") return run_bench_policies(line, world);
  if (benchmark == "calibrate") return run_bench_calibrate(line, world);
  return run_bench_step(line, world);
}

}  // namespace ballast::launch
