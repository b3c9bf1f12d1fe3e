#include "runtime/model/attention_pass.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "runtime/model/tensor_buffer.h"

namespace ballast::model {

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

void AttentionPass::execute() {
  for (;;) {
    progress();
    if (compute_one()) continue;
    if (std::ranges::all_of(traffic_, [](const Traffic& t) { return t.state == State::kFinished; })) break;
    wait_for_one();
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

void AttentionPass::start(std::size_t index) {
  const AttentionExchange& exchange = attention_.exchanges[index];
  Traffic& traffic = traffic_[index];
  if (exchange.stage == Stage::kReturn) finish_queue(exchange.queue);

  // Parcels of one peer are neighbours in both lists and make one message. What the rank sends to itself is not a message.
  const auto for_each_message = [&](const std::vector<Parcel>& parcels, int Parcel::*peer, const auto& fn) {
    for (auto first = parcels.begin(); first != parcels.end();) {
      const auto last = std::find_if(first, parcels.end(), [&](const Parcel& p) { return p.*peer != (*first).*peer; });
      if ((*first).*peer != program_.rank()) fn(std::span(first, last), (*first).*peer);
      first = last;
    }
  };
  const auto message = [&](std::span<const Parcel> parcels) {
    std::int64_t num_rows = 0;
    for (const Parcel& parcel : parcels) num_rows += parcel.num_rows;
    return traffic.buffers.emplace_back(at::empty({num_rows, head_dim_}, rows_));
  };
  std::vector<comm::Send> sends;
  for_each_message(exchange.sends, &Parcel::dst, [&](std::span<const Parcel> parcels, int peer) {
    const at::Tensor rows = message(parcels);
    std::int64_t row = 0;
    for (const Parcel& parcel : parcels) {
      rows.narrow(0, row, parcel.num_rows).copy_(take(exchange.stage, parcel).reshape({parcel.num_rows, head_dim_}));
      row += parcel.num_rows;
    }
    sends.push_back({peer, buffer(rows)});
  });
  std::vector<comm::Receive> receives;
  for_each_message(exchange.receives, &Parcel::src, [&](std::span<const Parcel> parcels, int peer) {
    const at::Tensor rows = message(parcels);
    std::int64_t row = 0;
    for (const Parcel& parcel : parcels) {
      traffic.arrivals.emplace_back(&parcel, rows.narrow(0, row, parcel.num_rows));
      row += parcel.num_rows;
    }
    receives.push_back({peer, buffer(rows)});
  });
  for (const Parcel& parcel : exchange.sends) {
    if (parcel.dst != program_.rank()) continue;
    traffic.arrivals.emplace_back(&parcel, take(exchange.stage, parcel).reshape({parcel.num_rows, head_dim_}));
  }
  finish_sending();
  traffic.pending = ranks_.exchange(sends, receives);
  traffic.state = State::kStarted;
}

void AttentionPass::finish(std::size_t index) {
  Traffic& traffic = traffic_[index];
  traffic.state = State::kFinished;
  traffic.pending = {};
  const Stage stage = attention_.exchanges[index].stage;
  if (stage == Stage::kReturn) return;  // several parcels may go to one row: they wait for their turn
  for (const auto& [parcel, rows] : traffic.arrivals) put(stage, *parcel, rows);
  traffic.arrivals.clear();
  traffic.buffers.clear();
}

void AttentionPass::progress() {
  for (bool moved = true; moved;) {
    moved = false;
    for (std::size_t i = 0; i < num_started_; ++i) {
      if (traffic_[i].state == State::kStarted && traffic_[i].pending.poll()) {
        finish(i);
        moved = true;
      }
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

void AttentionPass::wait_for_one() {
  const metrics::PhaseClock::Scope phase(clock_, metrics::StepPhase::kCommunication);
  for (std::size_t i = 0; i < num_started_; ++i) {
    if (traffic_[i].state != State::kStarted) continue;
    traffic_[i].pending.wait();
    finish(i);
    return;
  }
  TORCH_CHECK(false, "attention of rank ", program_.rank(), ": nothing can go on; exchange ", num_started_, " of ",
              traffic_.size(), " waits for what no exchange brings");
}

}  // namespace ballast::model
