#include "tests/agreement/recorded_messages.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "runtime/comm/mesh.h"
#include "scheduler/plan/messages.h"

namespace ballast::agreement {
namespace {

/// A message as both sides can describe it. What is sent and what is received over each of the two channels are four lists:
/// receives are posted with the layer, before it sends anything; and neither the order between a send and a receive nor that
/// between messages of different channels has a meaning.
struct Message {
  std::int64_t exchange = 0;  ///< which one in which this rank sends, or receives
  std::string direction;
  int peer = 0;
  std::int64_t num_bytes = 0;
  std::string meaning = {};   ///< only planned messages have one
  std::int64_t layer = 0;     ///< of a planned message: which pass of a layer, counted through the run
  std::int64_t position = 0;  ///< of a recorded message: in the log
  bool operator==(const Message& other) const {
    return exchange == other.exchange && direction == other.direction && peer == other.peer && num_bytes == other.num_bytes;
  }
};

std::string text(const std::vector<Message>& messages, std::size_t i) {
  if (i >= messages.size()) return "nothing";
  const Message& m = messages[i];
  return fmt::format("exchange {}, {} {}, {} bytes{}", m.exchange, m.direction, m.peer, m.num_bytes, m.meaning);
}

/// Messages of one direction.
using Direction = std::vector<scheduler::PeerBytes> scheduler::ExchangeMessages::*;

std::vector<Message> planned_messages(const TraceOptions& options, int rank, int num_ranks, bool is_cluster,
                                      const char* name_of_direction, Direction direction) {
  std::vector<Message> result;
  std::int64_t num_exchanges = 0;
  std::int64_t layer = -1;  // counted in both directions alike
  for (int step = 0; step < options.num_steps; ++step) {
    const scheduler::Plan plan = plan_of_step(options, num_ranks, step);
    std::tuple<int, scheduler::Pass, int> last{-1, {}, 0};
    for (const scheduler::ExchangeMessages& exchange :
         scheduler::attention_messages(plan, rank, head_counts(options), topology(options, num_ranks).node_of_rank,
                                       {row_bytes(options), row_bytes(options)})) {
      if (std::tuple(exchange.micro_batch, exchange.pass, exchange.layer) != last) ++layer;
      last = {exchange.micro_batch, exchange.pass, exchange.layer};
      if (exchange.is_cluster != is_cluster || (exchange.*direction).empty()) continue;
      const std::string meaning =
          fmt::format(" (step {}, micro-batch {}, {}, layer {}, {} of queue {}, round {})", step, exchange.micro_batch,
                      name(exchange.pass), exchange.layer, name(exchange.stage), exchange.queue, exchange.round);
      for (const auto& [peer, num_bytes] : exchange.*direction) {
        result.push_back({num_exchanges, name_of_direction, peer, num_bytes, meaning, layer});
      }
      ++num_exchanges;
    }
  }
  return result;
}

/// Point-to-point messages on a communicator of all ranks; those of experts are on a part of it, and everything else that a step
/// does is a collective.
std::vector<Message> recorded_messages(const std::vector<comm::Record>& records, bool is_cluster, const char* name_of_direction) {
  const int communicator = is_cluster ? 0 : comm::Mesh::kNearPart;
  std::vector<Message> result;
  std::int64_t num_exchanges = 0;
  std::int64_t call = -1;
  for (const comm::Record& record : records) {
    if (record.communicator != communicator || record.operation != name_of_direction) continue;
    if (record.call != call && call >= 0) ++num_exchanges;
    call = record.call;
    result.push_back({num_exchanges, record.operation, record.peer, record.num_bytes, {}, 0, &record - records.data()});
  }
  return result;
}

}  // namespace

RecordedRun train_recorded(comm::Communicator& world, int ep, const TraceOptions& options) {
  comm::RecordingCommunicator recorded(world);
  train(recorded, ep, options);
  RecordedRun run;
  run.num_communicators = static_cast<int>(std::ranges::count(recorded.records(), "split", &comm::Record::operation));
  std::map<std::int64_t, std::int64_t> first_send, last_receive;  // positions in the log, by layer
  const auto compare = [&](bool is_cluster, const char* name_of_direction, Direction direction, const auto& note) {
    const std::vector<Message> planned =
        planned_messages(options, world.rank(), world.size(), is_cluster, name_of_direction, direction);
    const std::vector<Message> done = recorded_messages(recorded.records(), is_cluster, name_of_direction);
    run.num_messages += static_cast<std::int64_t>(done.size());
    for (std::size_t i = 0; i < std::max(planned.size(), done.size()); ++i) {
      if (i < std::min(planned.size(), done.size()) && planned[i] == done[i]) {
        note(planned[i].layer, done[i].position);
        continue;
      }
      run.difference +=
          fmt::format("{} {} of rank {} {} nodes: planned {}, done {}; {} planned, {} done. ", name_of_direction, i, world.rank(),
                      is_cluster ? "between" : "inside", text(planned, i), text(done, i), planned.size(), done.size());
      break;
    }
  };
  for (const bool is_cluster : {false, true}) {
    compare(is_cluster, "send", &scheduler::ExchangeMessages::sends, [&](std::int64_t layer, std::int64_t position) {
      std::int64_t& first = first_send.try_emplace(layer, position).first->second;
      first = std::min(first, position);
    });
    compare(is_cluster, "receive", &scheduler::ExchangeMessages::receives, [&](std::int64_t layer, std::int64_t position) {
      std::int64_t& last = last_receive[layer];
      last = std::max(last, position);
    });
  }
  for (const auto& [layer, position] : first_send) {
    const auto receive = last_receive.find(layer);
    run.posts_receives_first = run.posts_receives_first && (receive == last_receive.end() || receive->second < position);
  }
  return run;
}

}  // namespace ballast::agreement
