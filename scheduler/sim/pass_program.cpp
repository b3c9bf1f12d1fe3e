#include "scheduler/sim/pass_program.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <tuple>
#include <utility>

namespace ballast::scheduler {

namespace {

std::tuple<Stage, int, int> key_of(const ProgramExchange& exchange) { return {exchange.stage, exchange.queue, exchange.round}; }

}  // namespace

PassProgramBuilder::PassProgramBuilder(const std::vector<AttentionSlice>& slices, const PassRates& rates)
    : slices_(slices), rates_(rates) {
  program_.first_exchange.push_back(0);
  program_.first_task.push_back(0);
}

double PassProgramBuilder::charge(int slice) const {
  return rates_.charge.empty() ? 1 : rates_.charge[static_cast<std::size_t>(slices_[slice].sequence)];
}

void PassProgramBuilder::add_rank(const RankAttention& attention, const LateTokens& late) {
  add_exchanges(attention, late);
  add_tasks(attention);
  program_.first_task.push_back(static_cast<int>(program_.tasks.size()));
}

void PassProgramBuilder::add_exchanges(const RankAttention& attention, const LateTokens& late) {
  const int rank = program_.num_ranks();
  const auto bytes_of = [&](const Parcel& parcel) {
    const std::int64_t row = parcel.payload == Payload::kKeyValueGradient ? rates_.gradient_row_bytes : rates_.row_bytes;
    return static_cast<double>(parcel.num_rows * row) * charge(parcel.slice);
  };
  for (const AttentionExchange& from : attention.exchanges) {
    ProgramExchange exchange;
    exchange.rank = rank;
    exchange.stage = from.stage;
    exchange.queue = from.queue;
    exchange.round = from.round;
    const Parcel& any = from.sends.empty() ? from.receives.front() : from.sends.front();
    exchange.is_cluster = slices_[any.slice].zone == Zone::kCluster;
    exchange.first_send = static_cast<std::int32_t>(program_.messages.size());
    double bytes = 0;
    for (std::size_t i = 0; i < from.sends.size(); ++i) {
      const Parcel& parcel = from.sends[i];
      if (from.stage == Stage::kDispatch) exchange.needs |= late.groups(parcel.chunk);
      if (parcel.dst == rank) continue;
      bytes += bytes_of(parcel);
      if (i + 1 < from.sends.size() && from.sends[i + 1].dst == parcel.dst) continue;
      ProgramMessage message;
      message.src = message.src_proxy = rank;
      message.dst = message.dst_proxy = parcel.dst;
      message.src_exchange = static_cast<int>(program_.exchanges.size());
      message.bytes = std::llround(bytes);
      program_.messages.push_back(message);
      bytes = 0;
    }
    exchange.last_send = static_cast<std::int32_t>(program_.messages.size());
    // Everybody begins with the rank after itself: no receiver is everybody's first.
    std::rotate(program_.messages.begin() + exchange.first_send,
                std::find_if(program_.messages.begin() + exchange.first_send, program_.messages.end(),
                             [&](const ProgramMessage& message) { return message.dst > rank; }),
                program_.messages.end());
    int num_expected = 0;
    for (std::size_t i = 0; i < from.receives.size(); ++i) {
      const Parcel& parcel = from.receives[i];
      const bool is_own = parcel.src == rank;
      if (!is_own && (i == 0 || from.receives[i - 1].src != parcel.src)) ++num_expected;
      if (from.stage == Stage::kReturn) (is_own ? exchange.frees_at_start : exchange.frees_at_end) |= late.groups(parcel.chunk);
    }
    program_.exchanges.push_back(exchange);
    num_expected_.push_back(num_expected);
  }

  // What waits for what among them. By (stage, queue, round), each has its predecessor before it.
  const int first = program_.first_exchange.back();
  const int last = static_cast<int>(program_.exchanges.size());
  for (int e = first; e < last; ++e) by_key_.push_back(e);
  std::sort(by_key_.begin() + first, by_key_.end(),
            [&](int a, int b) { return key_of(program_.exchanges[a]) < key_of(program_.exchanges[b]); });
  const auto wait = [&](int before, int after) {
    ProgramExchange& exchange = program_.exchanges[before];
    exchange.next[exchange.next[0] < 0 ? 0 : 1] = after;
    ++program_.exchanges[after].num_waits;
  };
  program_.first_exchange.push_back(last);
  for (int i = first; i < last; ++i) {
    const int e = by_key_[i];
    const ProgramExchange& exchange = program_.exchanges[e];
    const bool is_first_forward = exchange.stage == Stage::kRotate && exchange.round == 1 && rates_.pass == Pass::kForward;
    if (is_first_forward || (exchange.stage != Stage::kDispatch && exchange.round > 1)) {
      ProgramExchange wanted = exchange;
      wanted.round = exchange.round - 1;
      if (is_first_forward) wanted.stage = Stage::kDispatch;
      const int before = find_exchange(rank, wanted);
      if (before >= 0) wait(before, e);
    }
    if (exchange.stage == Stage::kRotateGradients) {
      ProgramExchange wanted = exchange;
      wanted.stage = Stage::kReturn;
      wanted.round = 0;
      const int after = find_exchange(rank, wanted);
      if (after >= 0) wait(e, after);
    }
  }
}

void PassProgramBuilder::add_tasks(const RankAttention& attention) {
  const int first_exchange = program_.first_exchange[program_.num_ranks()];
  const int last_exchange = program_.first_exchange.back();
  const int first = static_cast<int>(program_.tasks.size());
  for (const BlockTask& from : attention.tasks) {
    const AttentionSlice& slice = slices_[from.slice];
    const double pairs = static_cast<double>(from.num_pairs) * charge(from.slice) * charge(from.slice);
    const Ticks ticks = to_ticks(pairs * (slice.head_end - slice.head_begin) * rates_.head_pair_seconds);
    const bool is_cluster = slice.zone == Zone::kCluster;
    if (is_cluster && static_cast<int>(program_.tasks.size()) > first) {
      ProgramTask& before = program_.tasks.back();
      if (before.queue == from.queue && before.round == from.round) {
        before.ticks = later(before.ticks, ticks);
        if (before.sequence != slice.sequence) before.sequence = -1;
        continue;
      }
    }
    ProgramTask task;
    task.ticks = ticks;
    task.is_cluster = is_cluster;
    task.queue = from.queue;
    task.round = from.round;
    task.sequence = slice.sequence;
    program_.tasks.push_back(task);
  }

  const int last = static_cast<int>(program_.tasks.size());
  // Both lists once, by queue: tasks are sorted by (queue, round).
  const auto tasks_of = [&](int queue, int round) {  // round < 0: all rounds
    const auto begin = program_.tasks.begin() + first;
    const auto end = program_.tasks.begin() + last;
    const auto key = [round](const ProgramTask& task) { return std::pair(task.queue, round < 0 ? 0 : task.round); };
    const std::pair<int, int> wanted{queue, std::max(round, 0)};
    const auto from = std::lower_bound(begin, end, wanted, [&](const ProgramTask& task, const auto& k) { return key(task) < k; });
    const auto to = std::upper_bound(from, end, wanted, [&](const auto& k, const ProgramTask& task) { return k < key(task); });
    return std::pair(static_cast<int>(from - program_.tasks.begin()), static_cast<int>(to - program_.tasks.begin()));
  };
  for (int e = first_exchange; e < last_exchange; ++e) {
    ProgramExchange& exchange = program_.exchanges[e];
    if (exchange.stage == Stage::kDispatch || exchange.stage == Stage::kRotate) {
      const auto [from, to] = tasks_of(exchange.queue, exchange.stage == Stage::kDispatch ? -1 : exchange.round);
      exchange.first_task = from;
      exchange.last_task = to;
      for (int t = from; t < to; ++t) ++program_.tasks[t].num_waits;
    } else {
      const bool is_return = exchange.stage == Stage::kReturn;
      const auto [from, to] = tasks_of(exchange.queue, is_return ? -1 : exchange.round - 1);
      for (int t = from; t < to; ++t) program_.tasks[t].next[is_return ? 1 : 0] = e;
      exchange.num_waits += to - from;
    }
  }
  for (int t = first; t < last; ++t) {
    const ProgramTask& task = program_.tasks[t];
    if (task.num_waits == 0) {
      throw std::logic_error(fmt::format("simulation: rank {} computes in queue {}, round {}, what no exchange brings",
                                         program_.num_ranks(), task.queue, task.round));
    }
  }
}

int PassProgramBuilder::find_exchange(int rank, const ProgramExchange& like) const {
  const auto begin = by_key_.begin() + program_.first_exchange[rank], end = by_key_.begin() + program_.first_exchange[rank + 1];
  const auto at =
      std::lower_bound(begin, end, key_of(like), [&](int e, const auto& key) { return key_of(program_.exchanges[e]) < key; });
  return at != end && key_of(program_.exchanges[*at]) == key_of(like) ? *at : -1;
}

PassProgram PassProgramBuilder::finish() {
  std::vector<int> num_sent(program_.exchanges.size(), 0);
  for (ProgramMessage& message : program_.messages) {
    message.dst_exchange = find_exchange(message.dst, program_.exchanges[message.src_exchange]);
    if (message.dst_exchange < 0) {
      throw std::logic_error(fmt::format("simulation: rank {} sends {} bytes to rank {}, which takes no part in that exchange",
                                         message.src, message.bytes, message.dst));
    }
    ++num_sent[message.dst_exchange];
  }
  for (std::size_t e = 0; e < program_.exchanges.size(); ++e) {
    const ProgramExchange& exchange = program_.exchanges[e];
    if (num_sent[e] != num_expected_[e]) {
      throw std::logic_error(fmt::format("simulation: exchange {} of queue {}, round {}: {} messages are expected, {} are sent",
                                         e, exchange.queue, exchange.round, num_expected_[e], num_sent[e]));
    }
  }
  count_receives(program_);
  return std::move(program_);
}

void count_receives(PassProgram& program) {
  if (program.messages.size() > std::numeric_limits<std::int32_t>::max()) {
    throw std::invalid_argument(fmt::format("simulation: {} messages in a pass of a layer; at most {}, so plan for fewer ranks",
                                            program.messages.size(), std::numeric_limits<std::int32_t>::max()));
  }
  for (ProgramExchange& exchange : program.exchanges) exchange.num_receives = 0;
  for (const ProgramMessage& message : program.messages) ++program.exchanges[message.dst_exchange].num_receives;
}

}  // namespace ballast::scheduler
