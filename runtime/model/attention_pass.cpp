#include "runtime/model/attention_pass.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "runtime/model/tensor_buffer.h"
#include "scheduler/plan/messages.h"

namespace ballast::model {
namespace {

/// Parcels of one peer are neighbours in a list and make one message. What the rank sends to itself is not a message.
template <class Fn>
void for_each_message(const std::vector<scheduler::Parcel>& parcels, int scheduler::Parcel::*peer, int rank, const Fn& fn) {
  for (auto first = parcels.begin(); first != parcels.end();) {
    const int whose = (*first).*peer;
    const auto last = std::find_if(first, parcels.end(), [&](const scheduler::Parcel& p) { return p.*peer != whose; });
    if (whose != rank) fn(std::span(first, last), whose);
    first = last;
  }
}

}  // namespace

using scheduler::AttentionExchange;
using scheduler::BlockTask;
using scheduler::Parcel;
using scheduler::Stage;
using scheduler::TokenGroup;

AttentionPass::AttentionPass(const AttentionProgram& program, scheduler::Pass pass, scheduler::KeyValueUse use,
                             const AttentionChannels& channels, std::int64_t head_dim, const at::TensorOptions& rows)
    : program_(program),
      pass_(pass),
      part_(program.pass(pass, use)),
      channels_(channels),
      head_dim_(head_dim),
      rows_(rows),
      traffic_(part_.attention.exchanges.size()),
      is_done_(part_.attention.tasks.size()),
      num_tasks_left_(is_done_.size()) {
  post_receives();
}

comm::Communicator& AttentionPass::channel(const AttentionExchange& exchange) const {
  return list_of(exchange) == 0 ? channels_.cluster : channels_.near;
}

void AttentionPass::provide(TokenGroup group) { provided_ |= bit(group); }

bool AttentionPass::has_dispatch(int queue) const {
  return std::ranges::any_of(attention().exchanges, [&](const AttentionExchange& exchange) {
    return exchange.stage == Stage::kDispatch && exchange.queue == queue;
  });
}

bool AttentionPass::is_finished(Stage stage, int queue, int round) const {
  for (std::size_t i = 0; i < traffic_.size(); ++i) {
    const AttentionExchange& exchange = attention().exchanges[i];
    if (exchange.stage == stage && exchange.queue == queue && (round < 0 || exchange.round == round) &&
        !traffic_[i].is_finished()) {
      return false;
    }
  }
  return true;
}

bool AttentionPass::are_tasks_done(int queue, int round) const {
  for (std::size_t i = 0; i < is_done_.size(); ++i) {
    const BlockTask& task = attention().tasks[i];
    if (task.queue == queue && (round < 0 || task.round == round) && !is_done_[i]) return false;
  }
  return true;
}

bool AttentionPass::may_start(std::size_t index) const {
  const AttentionExchange& exchange = attention().exchanges[index];
  const int before = exchange.round - 1;
  switch (exchange.stage) {
    case Stage::kDispatch:
      return (part_.groups[index].needs & ~provided_) == 0;
    case Stage::kRotate:
      // In backward the keys have been here since the forward pass.
      return is_finished(Stage::kRotate, exchange.queue, before) &&
             (pass_ == scheduler::Pass::kBackward ||
              (is_finished(Stage::kDispatch, exchange.queue, -1) && has_keys(exchange.queue)));
    case Stage::kRotateGradients:
      return are_tasks_done(exchange.queue, before) && is_finished(Stage::kRotateGradients, exchange.queue, before);
    case Stage::kReturn:
      return are_tasks_done(exchange.queue, -1) && is_finished(Stage::kRotateGradients, exchange.queue, -1) && may_return();
  }
  return false;
}

bool AttentionPass::is_ready(const BlockTask& task) const {
  return is_finished(Stage::kDispatch, task.queue, -1) && has_keys(task.queue) &&
         is_finished(Stage::kRotate, task.queue, task.round);
}

at::Tensor AttentionPass::message(std::span<const Parcel> parcels) const {
  std::int64_t num_rows = 0;
  for (const Parcel& parcel : parcels) num_rows += parcel.num_rows;
  return at::empty({num_rows, head_dim_}, rows_);
}

void AttentionPass::post_receives() {
  for (std::size_t i = 0; i < traffic_.size(); ++i) {
    const AttentionExchange& exchange = attention().exchanges[i];
    Traffic& traffic = traffic_[i];
    std::vector<comm::Receive> receives;
    for_each_message(exchange.receives, &Parcel::src, program_.rank(), [&](std::span<const Parcel> parcels, int peer) {
      const at::Tensor& rows = traffic.received.emplace_back(message(parcels));
      std::int64_t row = 0;
      for (const Parcel& parcel : parcels) {
        traffic.arrivals.emplace_back(&parcel, rows.narrow(0, row, parcel.num_rows));
        row += parcel.num_rows;
      }
      receives.push_back({peer, buffer(rows)});
    });
    traffic.has_come = receives.empty();
    if (!receives.empty()) traffic.receiving = channel(exchange).exchange({}, receives);
  }
}

void AttentionPass::start(std::size_t index) {
  const AttentionExchange& exchange = attention().exchanges[index];
  Traffic& traffic = traffic_[index];
  if (exchange.stage == Stage::kReturn) finish_queue(exchange.queue);

  std::vector<comm::Send> sends;
  for_each_message(exchange.sends, &Parcel::dst, program_.rank(), [&](std::span<const Parcel> parcels, int peer) {
    const at::Tensor& rows = traffic.sent.emplace_back(message(parcels));
    std::int64_t row = 0;
    for (const Parcel& parcel : parcels) {
      rows.narrow(0, row, parcel.num_rows).copy_(take(exchange.stage, parcel).reshape({parcel.num_rows, head_dim_}));
      row += parcel.num_rows;
    }
    sends.push_back({peer, buffer(rows)});
  });
  for (const Parcel& parcel : exchange.sends) {
    if (parcel.dst != program_.rank()) continue;
    traffic.arrivals.emplace_back(&parcel, take(exchange.stage, parcel).reshape({parcel.num_rows, head_dim_}));
  }
  finish_sending();
  if (!sends.empty()) traffic.sending = channel(exchange).exchange(sends, {});
  traffic.is_started = true;
  if (traffic.has_come) finish(index);
}

void AttentionPass::finish(std::size_t index) {
  const AttentionExchange& exchange = attention().exchanges[index];
  if (exchange.stage == Stage::kReturn) return;  // waits for its group: several parcels may go to one row
  Traffic& traffic = traffic_[index];
  for (const auto& [parcel, rows] : traffic.arrivals) put(exchange.stage, *parcel, rows);
  traffic.arrivals.clear();
  traffic.received.clear();
  if (exchange.stage == Stage::kDispatch) finish_dispatch(exchange.queue);
}

bool AttentionPass::is_awaited(std::size_t exchange) const {
  const Traffic& traffic = traffic_[exchange];
  return !traffic.has_come && (traffic.is_started || attention().exchanges[exchange].stage == Stage::kReturn);
}

bool AttentionPass::take_arrivals() {
  bool moved = false;
  for (std::size_t i = 0; i < traffic_.size(); ++i) {
    Traffic& traffic = traffic_[i];
    if (is_awaited(i) && traffic.receiving.poll()) {
      traffic.has_come = moved = true;
      if (traffic.is_started) finish(i);
    }
    if (!traffic.sent.empty() && traffic.sending.poll()) {
      traffic.sent.clear();
      moved = true;
    }
  }
  return moved;
}

bool AttentionPass::progress(OpenLists& open) {
  bool moved = false;
  for (bool again = true; again;) {
    again = take_arrivals();
    for (int list = 0; list < kNumExchangeLists; ++list) {
      std::size_t& next = next_start_[static_cast<std::size_t>(list)];
      for (; next < traffic_.size(); ++next) {
        if (list_of(attention().exchanges[next]) != list) continue;
        if (!open[static_cast<std::size_t>(list)] || !may_start(next)) break;
        start(next);
        again = true;
      }
    }
    moved = moved || again;
  }
  for (std::size_t list = 0; list < open.size(); ++list) open[list] = open[list] && next_start_[list] == traffic_.size();
  return moved;
}

std::optional<std::size_t> AttentionPass::next_task(TaskClass which) const {
  const auto is_of_class = [&](const BlockTask& task) {
    return (which == TaskClass::kCluster) == program_.is_cluster_queue(task.queue);
  };
  for (std::size_t i = 0; num_tasks_left_ > 0 && i < is_done_.size(); ++i) {
    if (is_done_[i]) continue;
    const BlockTask& task = attention().tasks[i];
    if (is_of_class(task) && is_ready(task)) return i;
    if (program_.order() == TaskOrder::kStrict) break;
  }
  return std::nullopt;
}

bool AttentionPass::compute_one(TaskClass which) {
  if (const std::optional<std::size_t> task = next_task(which)) {
    compute(attention().tasks[*task]);
    is_done_[*task] = 1;
    --num_tasks_left_;
    return true;
  }
  if (which == TaskClass::kCluster || num_documents_done_ == program_.whole_documents().size()) return false;
  if (program_.order() == TaskOrder::kStrict && num_tasks_left_ > 0) return false;
  if ((provided_ & bit(TokenGroup::kReady)) == 0) return false;
  compute(program_.whole_documents()[num_documents_done_++]);
  return true;
}

bool AttentionPass::land(TokenGroup group) {
  if (landed_ & bit(group)) return true;
  if (group == TokenGroup::kReady && num_documents_done_ < program_.whole_documents().size()) return false;
  for (std::size_t i = 0; i < traffic_.size(); ++i) {
    if ((part_.groups[i].gets_own & bit(group)) != 0 && !traffic_[i].is_started) return false;
    if ((part_.groups[i].gets_others & bit(group)) != 0 && !traffic_[i].has_come) return false;
  }
  landed_ |= bit(group);
  const bool is_last = (program_.groups() & ~landed_) == 0;
  for (std::size_t i = 0; i < traffic_.size(); ++i) {
    if (((part_.groups[i].gets_own | part_.groups[i].gets_others) & bit(group)) == 0) continue;
    for (const auto& [parcel, rows] : traffic_[i].arrivals) put_home(*parcel, rows, group);
    if (!is_last) continue;
    traffic_[i].arrivals.clear();
    traffic_[i].received.clear();
  }
  return true;
}

bool AttentionPass::is_finished() const {
  return num_tasks_left_ == 0 && num_documents_done_ == program_.whole_documents().size() &&
         (program_.groups() & ~landed_) == 0 &&
         std::ranges::all_of(traffic_, [](const Traffic& t) { return t.is_finished() && t.sent.empty(); });
}

std::vector<int> AttentionPass::way(Stage stage, const Parcel& parcel) const {
  if (stage != Stage::kRotate && stage != Stage::kRotateGradients) return {parcel.src};
  const std::vector<int>& ranks = program_.slice(parcel.slice).ranks;
  std::vector<int> result;
  for (std::size_t member = static_cast<std::size_t>(parcel.member);; member = (member + 1) % ranks.size()) {
    if (ranks[member] != program_.rank()) result.push_back(ranks[member]);
    if (ranks[member] == parcel.src) return result;
  }
}

std::string AttentionPass::awaited() const {
  constexpr std::size_t kMostNamed = 4;
  std::set<std::pair<int, int>> named;  // (slice, source)
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < traffic_.size(); ++i) {
    if (!is_awaited(i)) continue;
    const AttentionExchange& exchange = attention().exchanges[i];
    for (const Parcel& parcel : exchange.receives) {
      if (parcel.src == program_.rank() || texts.size() == kMostNamed) continue;
      if (!named.emplace(parcel.slice, parcel.src).second) continue;
      const scheduler::AttentionSlice& slice = program_.slice(parcel.slice);
      texts.push_back(fmt::format("{} {} of sequence {}, heads [{}, {}), on ranks {}: tokens [{}, {}) by way of ranks {}",
                                  name(exchange.stage), exchange.round, slice.sequence, slice.head_begin, slice.head_end,
                                  fmt::join(slice.ranks, ", "), parcel.chunk.begin, parcel.chunk.end,
                                  fmt::join(way(exchange.stage, parcel), ", ")));
    }
  }
  return fmt::format("{}", fmt::join(texts, "; "));
}

void AttentionPass::add_pending(std::vector<comm::Pending*>& pending) {
  for (std::size_t i = 0; i < traffic_.size(); ++i) {
    if (is_awaited(i)) pending.push_back(&traffic_[i].receiving);
  }
  for (Traffic& traffic : traffic_) {
    if (!traffic.sent.empty()) pending.push_back(&traffic.sending);
  }
}

}  // namespace ballast::model
