#include "runtime/train/summary.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

namespace ballast::train {
namespace {

double bar_fraction(std::int64_t value, std::int64_t total) {
  return total == 0 ? 0 : static_cast<double>(value) / static_cast<double>(total);
}

std::string percent(double fraction) { return fmt::format("{:.1f} %", 100 * fraction); }

}  // namespace

std::string to_json(const RunSummary& s) {
  const nlohmann::ordered_json json = {{"v", 1},
                                       {"model", s.model},
                                       {"num_parameters", s.num_parameters},
                                       {"ranks", s.num_ranks},
                                       {"ep", s.ep},
                                       {"policy", s.policy},
                                       {"router", s.router},
                                       {"steps", s.steps},
                                       {"tokens", s.tokens},
                                       {"seconds", s.seconds},
                                       {"tokens_per_second", s.tokens_per_second},
                                       {"mfu", s.mfu},
                                       {"gemm_flops_per_second", s.gemm_flops_per_second},
                                       {"train_nats_per_token", s.last_loss},
                                       {"skipped_steps", s.skipped_steps},
                                       {"heldout_targets", s.heldout_targets},
                                       {"heldout_nats_per_token", s.heldout_nats_per_token},
                                       {"heldout_bits_per_byte", s.heldout_bits_per_byte},
                                       {"bigram_bits_per_byte", s.bigram_bits_per_byte},
                                       {"expert_load_max_over_mean_worst", s.expert_load_max_over_mean_worst},
                                       {"expert_load_above_minimum_worst", s.expert_load_above_minimum_worst},
                                       {"expert_loads", s.expert_loads},
                                       {"documents", s.documents},
                                       {"empty_documents", s.empty_documents},
                                       {"cut_documents", s.cut_documents},
                                       {"heldout_documents", s.heldout_documents},
                                       {"length_quantiles", s.length_quantiles},
                                       {"imbalance_mean", s.imbalance_mean},
                                       {"zone_fractions", s.zone_fractions},
                                       {"tokens_by_rank", s.tokens_by_rank},
                                       {"pieces_by_rank", s.pieces_by_rank},
                                       {"peak_memory_bytes", s.peak_memory_bytes},
                                       {"sample_prompt", s.sample_prompt},
                                       {"sample_text", s.sample_text},
                                       {"checkpoint", s.checkpoint},
                                       {"run_folder", s.run_folder}};
  // Sampled text may hold any bytes; JSON holds Unicode.
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::string to_text(const RunSummary& s) {
  std::string text;
  const auto line = [&]<class... Values>(fmt::format_string<Values...> format, Values&&... values) {
    text += fmt::format(format, std::forward<Values>(values)...) + "\n";
  };
  line("");
  line("{}: {:.2f} M parameters on {} rank{} (ep {}), policy {}, router {}", s.model, static_cast<double>(s.num_parameters) / 1e6,
       s.num_ranks, s.num_ranks == 1 ? "" : "s", s.ep, s.policy, s.router);
  line("  trained      {} tokens in {} steps, {:.0f} s: {:.0f} tokens/s, {}", s.tokens, s.steps, s.seconds, s.tokens_per_second,
       s.mfu > 0 ? fmt::format("{} of the GEMM rate measured in this run ({:.0f} GFLOP/s)", percent(s.mfu),
                               s.gemm_flops_per_second / 1e9)
                 : std::string("MFU n/a"));
  if (s.skipped_steps > 0) line("  skipped      {} steps whose loss or gradient was not finite", s.skipped_steps);
  line("  held-out     {:.3f} nats per token, {:.3f} bits per byte over {} targets", s.heldout_nats_per_token,
       s.heldout_bits_per_byte, s.heldout_targets);
  const double change = s.heldout_bits_per_byte / s.bigram_bits_per_byte - 1;
  line("  byte bigram  {:.3f} bits per byte on the same targets: the model's are {} {}", s.bigram_bits_per_byte,
       percent(std::abs(change)), change <= 0 ? "lower" : "higher");
  if (s.length_quantiles.size() == 6) {
    line(
        "  sequences    {} tokens (min, 10 %, median, 90 %, 99 %, max), of {} documents ({} cut, {} empty ones skipped, {} held "
        "out)",
        fmt::join(s.length_quantiles, " / "), s.documents, s.cut_documents, s.empty_documents, s.heldout_documents);
  }
  const std::int64_t all_tokens = std::accumulate(s.tokens_by_rank.begin(), s.tokens_by_rank.end(), std::int64_t{0});
  for (std::size_t rank = 0; rank < s.tokens_by_rank.size(); ++rank) {
    line("    rank {}     {} sequences or parts of them, {} of the tokens", rank, s.pieces_by_rank[rank],
         percent(bar_fraction(s.tokens_by_rank[rank], all_tokens)));
  }
  if (s.zone_fractions.size() == 3) {
    line("  attention    {} of the tokens on one rank, {} on rings inside a node, {} across nodes", percent(s.zone_fractions[0]),
         percent(s.zone_fractions[1]), percent(s.zone_fractions[2]));
  }
  line("  imbalance    {:.3f} (planned work of the fullest rank / mean, averaged over the steps)", s.imbalance_mean);
  if (!s.expert_loads.empty()) {
    line("  experts      tokens of each expert in the last step; worst step: {} above the best integer maximum, max/mean {:.3f}",
         s.expert_load_above_minimum_worst, s.expert_load_max_over_mean_worst);
    for (std::size_t layer = 0; layer < s.expert_loads.size(); ++layer) {
      line("    MoE layer {}  {}", layer, fmt::join(s.expert_loads[layer], " "));
    }
  }
  line("  memory       {:.0f} MB at most on a rank", static_cast<double>(s.peak_memory_bytes) / 1e6);
  if (!s.sample_text.empty()) {
    line("  sample       (prompt in brackets)");
    std::string sample = "[" + s.sample_prompt + "]" + s.sample_text;
    std::string indented = "    | ";
    for (const char character : sample) {
      indented += character;
      if (character == '\n') indented += "    | ";
    }
    line("{}", indented);
  }
  line("  checkpoint   {}", s.checkpoint);
  line("  run folder   {}", s.run_folder);
  return text;
}

}  // namespace ballast::train
