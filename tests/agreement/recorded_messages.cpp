#include "tests/agreement/recorded_messages.h"

#include <fmt/format.h>

#include <algorithm>

#include "scheduler/plan/messages.h"

namespace ballast::agreement {
namespace {

/// A message as both sides can describe it.
struct Message {
  std::int64_t exchange = 0;  ///< which one of this rank
  std::string direction;
  int peer = 0;
  std::int64_t num_bytes = 0;
  std::string meaning = {};  ///< only planned messages have one
  bool operator==(const Message& other) const {
    return exchange == other.exchange && direction == other.direction && peer == other.peer && num_bytes == other.num_bytes;
  }
};

std::string text(const std::vector<Message>& messages, std::size_t i) {
  if (i >= messages.size()) return "nothing";
  const Message& m = messages[i];
  return fmt::format("exchange {}, {} {}, {} bytes{}", m.exchange, m.direction, m.peer, m.num_bytes, m.meaning);
}

std::vector<Message> planned_messages(const TraceOptions& options, int rank, int num_ranks) {
  std::vector<Message> result;
  std::int64_t num_exchanges = 0;
  for (int step = 0; step < options.num_steps; ++step) {
    const scheduler::Plan plan = plan_of_step(options, num_ranks, step);
    for (const scheduler::ExchangeMessages& exchange :
         scheduler::attention_messages(plan, rank, head_counts(options), topology(options, num_ranks).node_of_rank,
                                       {row_bytes(options), row_bytes(options)})) {
      const std::string meaning =
          fmt::format(" (step {}, micro-batch {}, {}, layer {}, {} of queue {}, round {})", step, exchange.micro_batch,
                      name(exchange.pass), exchange.layer, name(exchange.stage), exchange.queue, exchange.round);
      const auto add = [&](const char* direction, const std::vector<scheduler::PeerBytes>& messages) {
        for (const auto& [peer, num_bytes] : messages) {
          result.push_back({num_exchanges, direction, peer, num_bytes, meaning});
        }
      };
      add("send", exchange.sends);
      add("receive", exchange.receives);
      ++num_exchanges;
    }
  }
  return result;
}

/// Point-to-point messages on the communicator of all ranks; those of experts are on a part of it, and everything else that a
/// step does is a collective.
std::vector<Message> recorded_messages(const std::vector<comm::Record>& records) {
  std::vector<Message> result;
  std::int64_t num_exchanges = 0;
  std::int64_t call = -1;
  for (const comm::Record& record : records) {
    if (record.communicator != 0 || (record.operation != "send" && record.operation != "receive")) continue;
    if (record.call != call && call >= 0) ++num_exchanges;
    call = record.call;
    result.push_back({num_exchanges, record.operation, record.peer, record.num_bytes});
  }
  return result;
}

}  // namespace

RecordedRun train_recorded(comm::Communicator& world, int ep, const TraceOptions& options) {
  comm::RecordingCommunicator recorded(world);
  train(recorded, ep, options);
  const std::vector<Message> planned = planned_messages(options, world.rank(), world.size());
  const std::vector<Message> sent = recorded_messages(recorded.records());
  RecordedRun run;
  run.num_messages = static_cast<std::int64_t>(sent.size());
  run.num_communicators = static_cast<int>(std::ranges::count(recorded.records(), "split", &comm::Record::operation));
  for (std::size_t i = 0; i < std::max(planned.size(), sent.size()); ++i) {
    if (i < std::min(planned.size(), sent.size()) && planned[i] == sent[i]) continue;
    run.difference = fmt::format("message {} of rank {}: planned {}, done {}; {} planned, {} done", i, world.rank(),
                                 text(planned, i), text(sent, i), planned.size(), sent.size());
    break;
  }
  return run;
}

}  // namespace ballast::agreement
