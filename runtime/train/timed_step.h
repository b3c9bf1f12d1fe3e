#pragma once
// One step with its times and bytes on every rank, and batches to time.
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/comm/recording_communicator.h"
#include "runtime/train/trainer.h"

namespace ballast::train {

/// What a rank did in a step.
struct RankStep {
  double seconds = 0;                     ///< wall time
  double waiting_seconds = 0;             ///< of it in communication that nothing overlapped
  double processor_seconds = 0;           ///< of all threads
  double busy_seconds = 0;                ///< processor time outside communication
  std::int64_t bytes_sent = 0;            ///< what it gave to messages and collectives; 0 where nothing is recorded
  std::int64_t attention_bytes_sent = 0;  ///< of it in messages of attention
};

struct TimedStep {
  std::vector<RankStep> ranks;
  StepResult result;
  double seconds() const;            ///< of the slowest rank
  double waiting_seconds() const;    ///< mean over ranks
  double processor_seconds() const;  ///< sum over ranks
  double busy_seconds() const;       ///< of the busiest rank
  double busy_imbalance() const;     ///< busiest rank over the mean
  std::int64_t bytes_sent() const;   ///< sum over ranks
  std::int64_t attention_bytes_sent() const;
};

/// Runs a step on all ranks, started together, with learning rate 0: the parameters stay, so steps can be compared. Collective.
/// Input: `recorder` is the trainer's world, or nullptr.
TimedStep run_timed(Trainer& trainer, const Step& step, comm::RecordingCommunicator* recorder);

/// Sequences of random tokens. Deterministic: a pure function of the arguments.
std::vector<data::Sequence> random_sequences(std::span<const std::int64_t> lengths, std::int64_t vocab_size, std::uint64_t seed);

/// A step of `num_documents` random documents of equal length on every rank, each whole on one rank: equal work for all, at the
/// same time, since ranks share cores and memory during training too.
Step equal_step(const Trainer& trainer, std::int64_t num_documents, std::int64_t length);

/// Middle value, the upper one of two. Input: not empty.
double median(std::vector<double> values);

}  // namespace ballast::train
