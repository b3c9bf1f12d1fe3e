#include "runtime/model/attention_pass.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "runtime/comm/wait_for_any.h"
#include "runtime/model/tensor_buffer.h"

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

AttentionPass::AttentionPass(const AttentionProgram& program, scheduler::Pass pass, scheduler::KeyValueUse use,
                             comm::Communicator& ranks, metrics::PhaseClock& clock, std::int64_t head_dim,
                             const at::TensorOptions& rows)
    : program_(program),
      pass_(pass),
      attention_(program.pass(pass, use)),
      ranks_(ranks),
      clock_(clock),
      head_dim_(head_dim),
      rows_(rows),
      traffic_(attention_.exchanges.size()),
      is_done_(attention_.tasks.size()) {}

void AttentionPass::execute(const std::function<bool()>& do_other_work) {
  post_receives();
  for (;;) {
    progress();
    if (compute_one()) continue;
    if (std::ranges::all_of(traffic_, [](const Traffic& t) { return t.state == State::kFinished; })) break;
    if (!do_other_work()) wait_for_any();
  }
  {
    const metrics::PhaseClock::Scope phase(clock_, metrics::StepPhase::kCommunication);
    for (Traffic& traffic : traffic_) traffic.sending.wait();
  }
  for (std::size_t i = 0; i < traffic_.size(); ++i) {
    for (const auto& [parcel, rows] : traffic_[i].arrivals) put(attention_.exchanges[i].stage, *parcel, rows);
  }
}

bool AttentionPass::is_finished(Stage stage, int queue, int round) const {
  for (std::size_t i = 0; i < traffic_.size(); ++i) {
    const AttentionExchange& exchange = attention_.exchanges[i];
    if (exchange.stage == stage && exchange.queue == queue && (round < 0 || exchange.round == round) &&
        traffic_[i].state != State::kFinished) {
      return false;
    }
  }
  return true;
}

bool AttentionPass::are_tasks_done(int queue, int round) const {
  for (std::size_t i = 0; i < is_done_.size(); ++i) {
    const BlockTask& task = attention_.tasks[i];
    if (task.queue == queue && (round < 0 || task.round == round) && !is_done_[i]) return false;
  }
  return true;
}

bool AttentionPass::may_start(const AttentionExchange& exchange) const {
  const int before = exchange.round - 1;
  switch (exchange.stage) {
    case Stage::kDispatch:
      return true;
    case Stage::kRotate:
      // In backward the keys have been here since the forward pass.
      return is_finished(Stage::kRotate, exchange.queue, before) &&
             (pass_ == scheduler::Pass::kBackward || is_finished(Stage::kDispatch, exchange.queue, -1));
    case Stage::kRotateGradients:
      return are_tasks_done(exchange.queue, before) && is_finished(Stage::kRotateGradients, exchange.queue, before);
    case Stage::kReturn:
      return are_tasks_done(exchange.queue, -1) && is_finished(Stage::kRotateGradients, exchange.queue, -1);
  }
  return false;
}

bool AttentionPass::is_ready(const BlockTask& task) const {
  return is_finished(Stage::kDispatch, task.queue, -1) && is_finished(Stage::kRotate, task.queue, task.round);
}

at::Tensor AttentionPass::message(std::span<const Parcel> parcels) const {
  std::int64_t num_rows = 0;
  for (const Parcel& parcel : parcels) num_rows += parcel.num_rows;
  return at::empty({num_rows, head_dim_}, rows_);
}

void AttentionPass::post_receives() {
  for (std::size_t i = 0; i < traffic_.size(); ++i) {
    Traffic& traffic = traffic_[i];
    std::vector<comm::Receive> receives;
    for_each_message(attention_.exchanges[i].receives, &Parcel::src, program_.rank(),
                     [&](std::span<const Parcel> parcels, int peer) {
                       const at::Tensor& rows = traffic.received.emplace_back(message(parcels));
                       std::int64_t row = 0;
                       for (const Parcel& parcel : parcels) {
                         traffic.arrivals.emplace_back(&parcel, rows.narrow(0, row, parcel.num_rows));
                         row += parcel.num_rows;
                       }
                       receives.push_back({peer, buffer(rows)});
                     });
    if (!receives.empty()) traffic.receiving = ranks_.exchange({}, receives);
  }
}

void AttentionPass::start(std::size_t index) {
  const AttentionExchange& exchange = attention_.exchanges[index];
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
  if (!sends.empty()) traffic.sending = ranks_.exchange(sends, {});
  traffic.state = State::kStarted;
}

void AttentionPass::finish(std::size_t index) {
  Traffic& traffic = traffic_[index];
  traffic.state = State::kFinished;
  const Stage stage = attention_.exchanges[index].stage;
  if (stage == Stage::kReturn) return;  // several parcels may go to one row: they wait for their turn
  for (const auto& [parcel, rows] : traffic.arrivals) put(stage, *parcel, rows);
  traffic.arrivals.clear();
  traffic.received.clear();
}

void AttentionPass::progress() {
  for (bool moved = true; moved;) {
    moved = false;
    for (std::size_t i = 0; i < num_started_; ++i) {
      Traffic& traffic = traffic_[i];
      if (traffic.state == State::kStarted && traffic.receiving.poll()) {
        finish(i);
        moved = true;
      }
      if (!traffic.sent.empty() && traffic.sending.poll()) traffic.sent.clear();
    }
    while (num_started_ < traffic_.size() && may_start(attention_.exchanges[num_started_])) {
      start(num_started_++);
      moved = true;
    }
  }
}

bool AttentionPass::compute_one() {
  bool waits = false;
  for (std::size_t i = 0; i < is_done_.size(); ++i) {
    if (is_done_[i]) continue;
    if (is_ready(attention_.tasks[i])) {
      compute(attention_.tasks[i]);
      is_done_[i] = 1;
      return true;
    }
    waits = true;
    if (program_.order() == TaskOrder::kStrict) break;
  }
  if (num_documents_done_ == program_.whole_documents().size() || (waits && program_.order() == TaskOrder::kStrict)) return false;
  compute(program_.whole_documents()[num_documents_done_++]);
  return true;
}

void AttentionPass::wait_for_any() {
  const metrics::PhaseClock::Scope phase(clock_, metrics::StepPhase::kCommunication);
  std::vector<comm::Pending*> pending;
  for (std::size_t i = 0; i < num_started_; ++i) {
    if (traffic_[i].state == State::kStarted) pending.push_back(&traffic_[i].receiving);
  }
  TORCH_CHECK(!pending.empty(), "attention of rank ", program_.rank(), ": nothing can go on; exchange ", num_started_, " of ",
              traffic_.size(), " waits for what no exchange brings");
  comm::wait_for_any(pending, ranks_.deadline());
}

}  // namespace ballast::model
