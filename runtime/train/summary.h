#pragma once
// What a finished run tells: to a person, and to scripts as summary.json.
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace ballast::train {

struct RunSummary {
  std::string model;
  std::int64_t num_parameters = 0;
  int num_ranks = 1;
  int ep = 1;
  std::string policy;
  // Training
  std::int64_t steps = 0;
  std::int64_t tokens = 0;
  double seconds = 0;  ///< spent in steps by this process
  double tokens_per_second = 0;
  double mfu = 0;                    ///< 0: unknown
  double gemm_flops_per_second = 0;  ///< of all ranks, measured at the same time in this run
  double last_loss = 0;              ///< nats per token, mean of the last steps
  std::int64_t skipped_steps = 0;
  // Held-out text
  std::int64_t heldout_targets = 0;
  double heldout_nats_per_token = 0;
  double heldout_bits_per_byte = 0;
  double bigram_bits_per_byte = 0;
  // Experts
  std::string router;
  double expert_load_max_over_mean_worst = 1;
  std::int64_t expert_load_above_minimum_worst = 0;
  std::vector<std::vector<std::int64_t>> expert_loads;  ///< of the last step, by MoE layer and expert
  // Sequences
  std::int64_t documents = 0, empty_documents = 0, cut_documents = 0, heldout_documents = 0;
  std::vector<std::int64_t> length_quantiles;  ///< smallest, 10 %, median, 90 %, 99 %, longest; tokens
  double imbalance_mean = 1;                   ///< planned work of the fullest rank / mean, over steps
  std::vector<double> zone_fractions;          ///< tokens whose attention is on one rank, inside a node, across nodes
  std::vector<std::int64_t> tokens_by_rank;    ///< of this process's steps
  std::vector<std::int64_t> pieces_by_rank;    ///< sequences, or parts of them, whose attention the rank computed
  // Machine
  std::int64_t peak_memory_bytes = 0;  ///< largest resident set of a rank
  std::string sample_prompt, sample_text;
  std::string checkpoint, run_folder;
};

/// The same as a JSON object.
std::string to_json(const RunSummary& summary);
/// A page for the person who waited for it.
std::string to_text(const RunSummary& summary);

}  // namespace ballast::train
