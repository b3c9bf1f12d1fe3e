#pragma once
// The same batch as real training steps under several policies.
#include <functional>
#include <string>
#include <vector>

#include "runtime/train/core_share.h"
#include "runtime/train/timed_step.h"

namespace ballast::train {

/// What a policy did with the batch. Times are medians over the rounds.
struct PolicyTimes {
  std::string policy;
  std::string refusal;  ///< why it cannot place the batch; empty: it did, and the rest is filled
  double plan_seconds = 0;
  double step_seconds_median = 0;         ///< of the slowest rank
  double step_seconds_least = 0;          ///< of the round that others disturbed least
  double predicted_seconds = 0;           ///< simulated on the run's cluster, and the fixed part measured here
  double speedup = 0;                     ///< time of the first policy that ran over its own, round by round
  double imbalance_planned = 1;           ///< max over mean
  double imbalance_measured = 1;          ///< of busy time
  std::int64_t bytes_sent = 0;            ///< by all ranks, per step
  std::int64_t attention_bytes_sent = 0;  ///< of it for attention
  double processor_seconds = 0;           ///< of all ranks
  double busy_seconds = 0;                ///< processor time of the busiest rank outside communication
  double busy_speedup = 0;                ///< as speedup, of busy_seconds: what it would be if no rank ever waited for a core
  double waiting_seconds = 0;             ///< communication that nothing overlapped, mean over ranks
  double loss = 0;                        ///< of the first round: equal for all policies, to rounding
};

struct PolicyBenchmark {
  CoreShare cores;
  int num_rounds = 0;
  std::int64_t num_sequences = 0;
  std::int64_t num_tokens = 0;
  std::int64_t longest_tokens = 0;
  double fixed_seconds = 0;  ///< a step of one token on every rank
  std::vector<PolicyTimes> policies;
  double gemm_rate_before = 0;  ///< of all ranks together, floating point operations per second
  double gemm_rate_after = 0;
  bool is_noisy = false;  ///< the GEMM rate moved by more than 10 %: ratios of a round may be quoted, times may not
};

/// Hears of every step when it is done; round -1 warms up.
using OnBenchmarkStep = std::function<void(int round, const std::string& policy, double seconds)>;

/// Input: `policies` are names of the registry; the others of the step's plan options are the run's. `recorder` is the trainer's
/// world, or nullptr. Collective. Nothing is saved.
/// Throws: std::invalid_argument for an unknown policy.
PolicyBenchmark benchmark_policies(Trainer& trainer, comm::RecordingCommunicator* recorder,
                                   const std::vector<std::string>& policies, const std::vector<data::Sequence>& batch,
                                   int num_rounds, const OnBenchmarkStep& on_step);

/// Seconds of a step by the simulator, and `fixed_seconds` of what it leaves out: optimizer, gradients, start of kernels.
double predicted_seconds(const scheduler::Plan& plan, const scheduler::ModelShape& model, const scheduler::Topology& topology,
                         double fixed_seconds);

}  // namespace ballast::train
