// ballast bench policies: the same batch as real training steps under several policies.
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <ostream>

#include "launch/any_world_config.h"
#include "launch/commands/bench.h"
#include "runtime/train/policy_benchmark.h"
#include "runtime/train/run_config.pb.h"
#include "scheduler/policy/registry.h"

namespace ballast::launch {
namespace {

using nlohmann::ordered_json;

constexpr int kRounds = 5;

/// The names of --policy, separated by commas; without it all policies.
std::vector<std::string> chosen_policies(const std::string& list) {
  std::vector<std::string> names;
  if (list.empty()) {
    for (const scheduler::Policy& policy : scheduler::policies()) names.emplace_back(policy.name);
    return names;
  }
  for (std::size_t begin = 0; begin <= list.size();) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    names.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return names;
}

ordered_json to_json(const train::PolicyTimes& row) {
  if (!row.refusal.empty()) return {{"policy", row.policy}, {"refused", row.refusal}};
  return {{"policy", row.policy},
          {"step_seconds_median", row.step_seconds_median},
          {"step_seconds_least", row.step_seconds_least},
          {"predicted_seconds", row.predicted_seconds},
          {"speedup", row.speedup},
          {"imbalance_planned", row.imbalance_planned},
          {"imbalance_measured", row.imbalance_measured},
          {"bytes_sent", row.bytes_sent},
          {"attention_bytes_sent", row.attention_bytes_sent},
          {"cpu_seconds", row.processor_seconds},
          {"busy_seconds", row.busy_seconds},
          {"busy_speedup", row.busy_speedup},
          {"exposed_communication_seconds", row.waiting_seconds},
          {"plan_seconds", row.plan_seconds},
          {"loss", row.loss}};
}

void print_table(const train::PolicyBenchmark& result, std::ostream& out) {
  out << cores_text(result.cores)
      << fmt::format("{} sequences, {} tokens, the longest {}; median of {} steps each, in turn; {:.4g} s of a step are fixed\n",
                     result.num_sequences, result.num_tokens, result.longest_tokens, result.num_rounds, result.fixed_seconds)
      << fmt::format("{:<18}{:>9}{:>9}{:>10}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>10}{:>10}\n", "policy", "step s", "least s",
                     "predicted", "speedup", "planned", "measured", "cpu s", "busy s", "busy x", "wait s", "sent MB", "attn MB");
  for (const train::PolicyTimes& row : result.policies) {
    if (!row.refusal.empty()) {
      out << fmt::format("{:<18}refused: {}\n", row.policy, row.refusal);
      continue;
    }
    out << fmt::format(
        "{:<18}{:>9.4g}{:>9.4g}{:>10.4g}{:>9.3f}{:>9.3f}{:>9.3f}{:>9.4g}{:>9.4g}{:>9.3f}{:>9.3g}{:>10.2f}{:>10.2f}\n", row.policy,
        row.step_seconds_median, row.step_seconds_least, row.predicted_seconds, row.speedup, row.imbalance_planned,
        row.imbalance_measured, row.processor_seconds, row.busy_seconds, row.busy_speedup, row.waiting_seconds,
        static_cast<double>(row.bytes_sent) / 1e6, static_cast<double>(row.attention_bytes_sent) / 1e6);
  }
  out << "planned, measured: imbalance, max over mean; speedup, busy x: over the first policy, round by round; busy: processor\n"
         "time of the busiest rank outside communication\n"
      << fmt::format("GEMM rate {:.1f} GFLOP/s before, {:.1f} after{}\n", result.gemm_rate_before / 1e9,
                     result.gemm_rate_after / 1e9, result.is_noisy ? ": noisy, quote ratios only" : "");
}

}  // namespace

int run_bench_policies(const CommandLine& line, comm::Communicator& world) {
  const LoadedConfig loaded = load_config_for_any_world(line.arguments[1], line, world);
  comm::RecordingCommunicator recorder(world);
  train::Trainer trainer(*loaded.run, recorder);
  const auto show_progress = [&](int round, const std::string& policy, double seconds) {
    if (world.rank() != 0) return;
    const std::string name = round < 0 ? "warm-up" : fmt::format("round {} of {}", round + 1, kRounds);
    *line.errors << fmt::format("{}: {} {:.3g} s\n", name, policy, seconds) << std::flush;
  };
  const train::PolicyBenchmark result =
      train::benchmark_policies(trainer, &recorder, chosen_policies(line.policy),
                                batch_of(line, loaded.run->data().seed(), trainer), kRounds, show_progress);
  if (world.rank() != 0) return 0;
  if (!line.json) {
    print_table(result, *line.output);
    return 0;
  }
  ordered_json json = {{"benchmark", "policies"},
                       {"run", line.arguments[1]},
                       {"cores", cores_json(result.cores)},
                       {"rounds", result.num_rounds},
                       {"sequences", result.num_sequences},
                       {"tokens", result.num_tokens},
                       {"longest_tokens", result.longest_tokens},
                       {"fixed_seconds", result.fixed_seconds},
                       {"gemm_flops_per_second_before", result.gemm_rate_before},
                       {"gemm_flops_per_second_after", result.gemm_rate_after},
                       {"noisy", result.is_noisy}};
  for (const train::PolicyTimes& row : result.policies) json["policies"].push_back(to_json(row));
  *line.output << json.dump() << "\n";
  return 0;
}

}  // namespace ballast::launch
