#include "scheduler/sim/span_recorder.h"

#include <algorithm>
#include <utility>

namespace ballast::scheduler {

void SpanRecorder::departure(const PassInstance& instance, int position, std::int64_t message, int src, int dst,
                             const Network::Departure& departure) {
  add_message(instance, position, message, src, dst, true, departure.begin, departure.end);
}

void SpanRecorder::arrival(const PassInstance& instance, const Traveller& traveller, const Network::Arrival& arrival) {
  const int position = static_cast<int>(traveller.layer), to = static_cast<int>(traveller.to);
  const Way way = way_of(instance.layers[position].program->messages[traveller.message]);
  int from = to - 1;
  while (way[from] == way[to]) --from;
  add_message(instance, position, traveller.message, way[from], way[to], false, arrival.begin, arrival.free);
}

void SpanRecorder::add_message(const PassInstance& instance, int position, std::int64_t m, int src, int dst, bool is_sender,
                               Ticks begin, Ticks end) {
  const PassProgram& program = *instance.layers[position].program;
  const ProgramMessage& message = program.messages[m];
  const ProgramExchange& exchange = program.exchanges[message.src_exchange];
  const bool is_nic = topology_.is_between_nodes(src, dst);
  Span span;
  span.lane = is_nic ? (is_sender ? Lane::kNicSend : Lane::kNicReceive) : (is_sender ? Lane::kNodeSend : Lane::kNodeReceive);
  span.work = static_cast<Work>(static_cast<int>(Work::kDispatch) + static_cast<int>(exchange.stage));
  span.pass = instance.pass;
  span.rank = is_sender ? src : dst;
  span.peer = is_sender ? dst : src;
  span.owner = is_nic ? topology_.nic_group_of_rank[span.rank] : span.rank;
  span.micro_batch = instance.micro_batch;
  span.layer = instance.runs.layers[position];
  span.queue = exchange.queue;
  span.round = exchange.round;
  span.bytes = message.bytes;
  span.begin_seconds = to_seconds(begin);
  span.end_seconds = to_seconds(end);
  spans_.push_back(span);
}

void SpanRecorder::compute(const PassInstance& instance, const EngineKey& item, int rank, const RankState& state,
                           const LinearKernels& kernels) {
  Span span;
  span.pass = instance.pass;
  span.owner = span.rank = rank;
  span.micro_batch = instance.micro_batch;
  span.begin_seconds = to_seconds(state.since);
  span.end_seconds = to_seconds(state.until);
  if (item.is_weights()) {
    span.work = Work::kWeightGradients;
    span.layer = instance.segments[item.layer].layer;
  } else if (item.is_segment()) {
    return add_segment(instance, item, rank, state, kernels, span);
  } else {
    const ProgramTask& task = instance.layers[item.layer].program->tasks[item.index];
    span.layer = instance.runs.layers[item.layer];
    span.queue = task.queue;
    span.round = task.round;
    span.sequence = task.sequence;
  }
  spans_.push_back(span);
}

void SpanRecorder::add_segment(const PassInstance& instance, const EngineKey& item, int rank, const RankState& state,
                               const LinearKernels& kernels, Span span) {
  const MicroBatchProgram& program = *instance.program;
  const Segment& segment = instance.segments[item.layer];
  const int group = static_cast<int>(item.index), count = kernels.count(program, rank, group);
  const int first = instance.ranks[rank].kernel[group], last = first + state.num_kernels;
  const auto begin_of = [&](int kernel) {
    return to_seconds(state.since + kernels.begin(program, segment, kernel, rank, group) -
                      kernels.begin(program, segment, first, rank, group));
  };
  span.layer = segment.layer;
  for (int begin = first, end = first; begin < last; begin = end) {
    end = std::min(last, (begin / count + 1) * count);
    span.work = segment.pieces[begin / count].work;
    span.begin_seconds = begin_of(begin);
    span.end_seconds = begin_of(end);
    if (span.end_seconds > span.begin_seconds) spans_.push_back(span);
  }
}

Timeline SpanRecorder::take() {
  Timeline timeline;
  timeline.node_of_rank = topology_.node_of_rank;
  for (const NicGroup& group : topology_.nic_groups) timeline.node_of_nic_group.push_back(group.node);
  timeline.spans = std::exchange(spans_, {});
  return timeline;
}

}  // namespace ballast::scheduler
