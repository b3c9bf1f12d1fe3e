#include "runtime/train/timed_step.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <numeric>
#include <random>

namespace ballast::train {
namespace {

/// Any one: tokens say nothing about time where every rank has as many.
constexpr std::uint64_t kEqualStepSeed = 0;
constexpr auto kCommunication = static_cast<std::size_t>(metrics::StepPhase::kCommunication);

template <class Value>
Value sum(const std::vector<RankStep>& ranks, Value RankStep::*member) {
  Value total = 0;
  for (const RankStep& rank : ranks) total += rank.*member;
  return total;
}

double most(const std::vector<RankStep>& ranks, double RankStep::*member) {
  return (*std::ranges::max_element(ranks, {}, member)).*member;
}

}  // namespace

double TimedStep::seconds() const { return most(ranks, &RankStep::seconds); }
double TimedStep::waiting_seconds() const { return sum(ranks, &RankStep::waiting_seconds) / static_cast<double>(ranks.size()); }
double TimedStep::processor_seconds() const { return sum(ranks, &RankStep::processor_seconds); }
double TimedStep::busy_seconds() const { return most(ranks, &RankStep::busy_seconds); }
double TimedStep::busy_imbalance() const {
  return busy_seconds() / (sum(ranks, &RankStep::busy_seconds) / static_cast<double>(ranks.size()));
}
std::int64_t TimedStep::bytes_sent() const { return sum(ranks, &RankStep::bytes_sent); }
std::int64_t TimedStep::attention_bytes_sent() const { return sum(ranks, &RankStep::attention_bytes_sent); }

TimedStep run_timed(Trainer& trainer, const Step& step, comm::RecordingCommunicator* recorder) {
  using Clock = std::chrono::steady_clock;
  comm::Communicator& world = trainer.world();
  world.barrier();
  if (recorder) recorder->clear();
  trainer.clock().take_times();
  const Clock::time_point begin = Clock::now();
  TimedStep timed;
  timed.result = trainer.run(step, 0);

  RankStep own;
  own.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  const metrics::PhaseClock::Times times = trainer.clock().take_times();
  own.waiting_seconds = times.wall[kCommunication];
  own.processor_seconds = std::accumulate(times.processor.begin(), times.processor.end(), 0.0);
  own.busy_seconds = own.processor_seconds - times.processor[kCommunication];
  if (recorder) {
    for (const comm::Record& record : recorder->records()) {
      if (record.operation == "receive") continue;
      own.bytes_sent += record.num_bytes;
      // Experts and optimizer speak on other parts of the world, or in collectives.
      const bool is_of_attention = record.communicator == 0 || record.communicator == comm::Mesh::kNearPart;
      if (record.operation == "send" && is_of_attention) own.attention_bytes_sent += record.num_bytes;
    }
  }

  constexpr std::int64_t kNumbers = 6;
  const std::array<double, kNumbers> send = {own.seconds,
                                             own.waiting_seconds,
                                             own.processor_seconds,
                                             own.busy_seconds,
                                             static_cast<double>(own.bytes_sent),
                                             static_cast<double>(own.attention_bytes_sent)};
  std::vector<double> all(static_cast<std::size_t>(kNumbers * world.size()));
  world
      .all_gather(comm::buffer(send), comm::buffer(all),
                  std::vector<std::int64_t>(static_cast<std::size_t>(world.size()), kNumbers))
      .wait();
  for (std::size_t i = 0; i < all.size(); i += kNumbers) {
    timed.ranks.push_back({all[i], all[i + 1], all[i + 2], all[i + 3], static_cast<std::int64_t>(all[i + 4]),
                           static_cast<std::int64_t>(all[i + 5])});
  }
  return timed;
}

std::vector<data::Sequence> random_sequences(std::span<const std::int64_t> lengths, std::int64_t vocab_size, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<data::Sequence> sequences(lengths.size());
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    sequences[i].id = sequences[i].document = static_cast<std::int64_t>(i);
    for (std::int64_t t = 0; t <= lengths[i]; ++t) {
      sequences[i].tokens.push_back(static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(vocab_size)));
    }
  }
  return sequences;
}

Step equal_step(const Trainer& trainer, std::int64_t num_documents, std::int64_t length) {
  scheduler::PlanRequest request = trainer.planning();
  request.lengths.assign(static_cast<std::size_t>(num_documents * request.topology.num_ranks()), length);
  // Equal documents, each to the rank with the least work so far: the same number on every rank.
  request.options = {.policy = "longest_first"};
  Step step;
  step.plan = scheduler::make_plan(request);
  step.sequences = random_sequences(request.lengths, request.model.vocab_size, kEqualStepSeed);
  return step;
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

}  // namespace ballast::train
