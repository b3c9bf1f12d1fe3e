#include "scheduler/sim/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <utility>
#include <variant>
#include <vector>

#include "scheduler/plan/cursor.h"
#include "scheduler/sim/calendar.h"
#include "scheduler/sim/engine_state.h"
#include "scheduler/sim/event_queue.h"
#include "scheduler/sim/linear_kernels.h"
#include "scheduler/sim/network.h"
#include "scheduler/sim/span_recorder.h"
#include "scheduler/sim/step_totals.h"

namespace ballast::scheduler {
namespace {

/// Messages and tasks up to which all layers are simulated: some seconds of one core.
constexpr std::size_t kMostPartsOfAllLayers = 12'000'000;
/// Beyond that, so many of equal layers: groups of tokens take longer to fall into step.
constexpr int kRepeatsWithOverlap = 16;
constexpr int kRepeatsWithoutOverlap = 8;

class Engine {
 public:
  Engine(const StepProgram& step, const Topology& topology, const SimulationOptions& options)
      : step_(step),
        topology_(topology),
        options_(options),
        network_(topology),
        recorder_(topology),
        num_ranks_(topology.num_ranks()),
        kernels_(options.overlaps_linear, options.tokens_per_kernel),
        num_groups_(kernels_.num_groups()),
        num_lists_(options.overlaps_linear ? 2 : 1),
        most_repeats_(options.most_repeats < 0    ? automatic_repeats(step)
                      : options.most_repeats == 1 ? 2
                                                  : options.most_repeats),
        ranks_(static_cast<std::size_t>(num_ranks_)),
        log_slot_(std::bit_width(static_cast<std::uint64_t>(std::max<Ticks>(1, network_.least_latency()))) - 1),
        travellers_(log_slot_),
        events_(log_slot_) {
    for (std::size_t m = 0; m < step.micro_batches.size(); ++m) {
      for (const Pass pass : {Pass::kForward, Pass::kBackward}) make_instance(static_cast<int>(m), pass);
    }
    for (const RankProgram& program : step.ranks) cursors_.emplace_back(program);
  }

  Simulation run() {
    for (int r = 0; r < num_ranks_; ++r) advance_program(r);
    for (;;) {
      for (std::size_t i = 0; i < marked_.size(); ++i) {  // picks may not mark: what they start ends later, if only by an event
        ranks_[marked_[i]].is_marked = false;
        pick(marked_[i]);
      }
      marked_.clear();
      // What is sent in a slot arrives in a later one, as slots are no longer than any message is under way. So all that arrives
      // in a slot can be served before anything else happens in it, link by link in order of time.
      const std::int64_t slot = std::min(events_.next_slot(), travellers_.next_slot());
      if (slot == Calendar<Traveller>::kNever) break;
      if (travellers_.next_slot() == slot) arrive(slot);
      events_.move_to(slot);
      if (events_.empty()) continue;
      now_ = events_.next_time();
      while (!events_.empty() && events_.next_time() == now_) handle(EngineKey::unpacked(events_.pop().id));
    }
    for (int r = 0; r < num_ranks_; ++r) {
      if (!cursors_[r].is_done()) {
        throw std::logic_error(
            fmt::format("simulation: nothing can go on after {} seconds, and rank {} is not done", to_seconds(now_), r));
      }
    }
    Simulation simulation = step_totals(instances_, ranks_, kernels_, topology_, options_.records_messages);
    simulation.timeline = recorder_.take();
    return simulation;
  }

 private:
  // ---- set-up

  int automatic_repeats(const StepProgram& step) const {
    std::size_t num_parts = 0;
    for (const MicroBatchProgram& program : step.micro_batches) {
      for (int l = 0; l < static_cast<int>(program.layers.size()); ++l) {
        for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
          num_parts += program.program(pass, l).messages.size() + program.program(pass, l).tasks.size();
        }
      }
    }
    if (num_parts <= kMostPartsOfAllLayers) return 0;
    return options_.overlaps_linear ? kRepeatsWithOverlap : kRepeatsWithoutOverlap;
  }

  void make_instance(int micro_batch, Pass pass) {
    PassInstance& instance = instances_.emplace_back();
    instance.micro_batch = micro_batch;
    instance.pass = pass;
    instance.program = &step_.micro_batches[micro_batch];
    std::vector<int> order(instance.program->layers.size());
    std::iota(order.begin(), order.end(), 0);
    if (pass == Pass::kBackward) std::reverse(order.begin(), order.end());
    instance.runs = layer_runs(instance.program->layers, order, most_repeats_);
    instance.segments =
        segments(pass, instance.runs.layers, instance.program->layers, step_.token_seconds, options_.overlaps_linear);
    if (instances_.size() > (1u << EngineKey::kInstanceBits) || instance.segments.size() > (1u << EngineKey::kLayerBits)) {
      throw std::invalid_argument(fmt::format("simulation: {} passes of {} layers; at most {} of {}", instances_.size(),
                                              instance.runs.layers.size(), 1 << EngineKey::kInstanceBits,
                                              (1 << EngineKey::kLayerBits) - 1));
    }
    instance.barrier_missing.assign(instance.segments.size(), num_ranks_ * num_groups_);
    instance.ranks.resize(static_cast<std::size_t>(num_ranks_));
    for (PassInstance::Rank& rank : instance.ranks) rank.left = num_groups_;
    if (pass == Pass::kBackward && options_.overlaps_linear) defer_weights(instance);
    for (const int layer : instance.runs.layers) make_layer(instance, instance.program->program(pass, layer));
    for (int r = 0; r < num_ranks_ && !instance.layers.empty(); ++r) {
      const std::vector<int>& first = instance.layers[0].program->first_exchange;
      instance.ranks[r].next_exchange.fill({0, first[r], first[r + 1]});
    }
  }

  void defer_weights(PassInstance& instance) {
    instance.weight_waits.assign(num_ranks_ * instance.segments.size(), num_groups_);
    for (const Segment& segment : instance.segments) {
      for (int r = 0; r < num_ranks_; ++r) instance.ranks[r].left += kernels_.weight_ticks(*instance.program, segment, r) > 0;
    }
  }

  void make_layer(PassInstance& instance, const PassProgram& program) {
    LayerState& state = instance.layers.emplace_back();
    state.program = &program;
    state.received_bytes = &received_bytes(program);
    for (const ProgramExchange& exchange : program.exchanges) {
      const int num_groups = options_.overlaps_linear ? (exchange.needs & 1) + (exchange.needs >> 1) : exchange.needs != 0;
      state.exchanges.push_back({0, exchange.num_receives + 1, static_cast<std::uint32_t>(exchange.num_waits + num_groups),
                                 num_lists_ == 1 || exchange.is_cluster ? 0u : 1u});
    }
    for (const ProgramTask& task : program.tasks) state.task_waits.push_back(task.num_waits);
    state.is_open.assign(num_ranks_, 0);
    state.waiting = WaitingMessages(num_ranks_);
    if (options_.is_strict) state.next_task.assign(program.first_task.begin(), program.first_task.end() - 1);
    state.ranks.resize(static_cast<std::size_t>(num_ranks_));
    for (LayerState::Rank& rank : state.ranks) rank.group_waits.fill(num_groups_);
    for (int r = 0; r < num_ranks_; ++r) {
      const int num_exchanges = program.first_exchange[r + 1] - program.first_exchange[r];
      const int num_tasks = program.first_task[r + 1] - program.first_task[r];
      instance.ranks[r].left += num_exchanges + num_tasks;
      state.ranks[r].left = num_exchanges + num_tasks;
      if (!options_.overlaps_linear) {
        state.ranks[r].group_waits[0] += num_exchanges + num_tasks;
        continue;
      }
      for (int e = program.first_exchange[r]; e < program.first_exchange[r + 1]; ++e) {
        const ProgramExchange& exchange = program.exchanges[e];
        for (int g = 0; g < num_groups_; ++g) {
          state.ranks[r].group_waits[g] += (exchange.frees_at_start >> g & 1) + (exchange.frees_at_end >> g & 1);
        }
      }
    }
  }

  const std::vector<std::int64_t>& received_bytes(const PassProgram& program) {
    const auto [at, is_new] = received_bytes_.try_emplace(&program, num_ranks_, 0);
    if (is_new) {
      for (const ProgramMessage& message : program.messages) at->second[message.dst] += message.bytes;
    }
    return at->second;
  }

  // ---- programs of ranks

  void advance_program(int rank) {
    while (const std::optional<int> next = cursors_[rank].next()) {
      const Op& op = cursors_[rank][*next].op;
      if (const auto* forward = std::get_if<Forward>(&op)) {
        start_instance(2 * forward->micro_batch, rank, *next);
      } else if (const auto* backward = std::get_if<Backward>(&op)) {
        start_instance(2 * backward->micro_batch + 1, rank, *next);
      } else {
        cursors_[rank].finish(*next);  // parameter traffic is not counted
      }
    }
  }

  void start_instance(int i, int rank, int instruction) {
    instances_[i].ranks[rank].instruction = instruction;
    for (int g = 0; g < num_groups_; ++g) advance_segment(i, 0, rank, g);
    for (int list = 0; list < num_lists_; ++list) start_exchanges(i, rank, list);
  }

  void finish_one(int i, int rank) {
    PassInstance::Rank& own = instances_[i].ranks[rank];
    if (--own.left > 0) return;
    ranks_[rank].end = now_;
    cursors_[rank].finish(own.instruction);
    advance_program(rank);
  }

  // ---- linear work

  /// Goes on with a segment: to its next kernel, to the barrier, or to its end.
  void advance_segment(int i, int s, int rank, int group) {
    PassInstance& instance = instances_[i];
    const Segment& segment = instance.segments[s];
    int& kernel = instance.ranks[rank].kernel[group];
    const int count = kernels_.count(*instance.program, rank, group), end = static_cast<int>(segment.pieces.size()) * count;
    for (; kernel < end; ++kernel) {
      if (kernel == segment.barrier * count && instance.barrier_missing[s] > 0) {
        if (--instance.barrier_missing[s] > 0) return;
        for (int r = 0; r < num_ranks_; ++r) {
          for (int g = 0; g < num_groups_; ++g) advance_segment(i, s, r, g);
        }
        return;
      }
      if (kernels_.piece_ticks(*instance.program, segment.pieces[kernel / count], rank, group) > 0) {
        make_ready(rank,
                   {static_cast<std::uint64_t>(group == 0 ? ItemClass::kLateSegment : ItemClass::kReadySegment), i, s, group});
        return;
      }
    }
    kernel = 0;
    if (!instance.weight_waits.empty() && --instance.weight_waits[rank * instance.segments.size() + s] == 0) {
      defer_weights(i, s, rank);
    }
    finish_segment(i, s, rank, group);
  }

  // ---- gradients of weights

  void defer_weights(int i, int s, int rank) {
    if (kernels_.weight_ticks(*instances_[i].program, instances_[i].segments[s], rank) == 0) return;
    DeferredWeights& weights = ranks_[rank].weights;
    if (weights.count == 0) {
      weights.instance = i;
      weights.first = static_cast<std::int16_t>(s);
    } else if (weights.first + weights.count != s) {
      throw std::logic_error(fmt::format("simulation: rank {} puts off segment {} after {}", rank, s, weights.first));
    }
    ++weights.count;
    ranks_[rank].most_deferred = std::max<int>(ranks_[rank].most_deferred, weights.count);
    if (weights.count == 1 || weights.count == kMostDeferredLayers + 1) make_weights_ready(i, rank);
  }

  /// Offers the next kernel of the oldest weights, before all else if too many wait.
  void make_weights_ready(int i, int rank) {
    const DeferredWeights& weights = ranks_[rank].weights;
    const bool is_overdue = weights.count > kMostDeferredLayers;
    make_ready(rank, {static_cast<std::uint64_t>(is_overdue ? ItemClass::kOverdueWeights : ItemClass::kWeights), i, weights.first,
                      weights.kernel});
  }

  void finish_weight_kernels(const EngineKey& item, int rank, int count) {
    DeferredWeights& weights = ranks_[rank].weights;
    const PassInstance& instance = instances_[item.instance];
    weights.kernel += count;
    const bool is_last = weights.kernel == kernels_.num_weight_kernels(*instance.program, instance.segments[item.layer], rank);
    if (is_last) {
      ++weights.first;
      --weights.count;
      weights.kernel = 0;
    }
    if (weights.count > 0) make_weights_ready(item.instance, rank);
    if (is_last) finish_one(item.instance, rank);
  }

  void finish_segment(int i, int s, int rank, int group) {
    PassInstance& instance = instances_[i];
    if (s == static_cast<int>(instance.layers.size())) return finish_one(i, rank);
    LayerState& layer = instance.layers[s];
    LayerState::Rank& own = layer.ranks[rank];
    const bool is_first = own.entry < 0;
    own.entry = now_;
    own.barrier_idle = ranks_[rank].barrier_idle;
    const PassProgram& program = *layer.program;
    if (is_first) {
      layer.is_open[rank] = 1;
      RankState& state = ranks_[rank];
      state.buffer_bytes += (*layer.received_bytes)[rank];
      state.most_buffer_bytes = std::max(state.most_buffer_bytes, state.buffer_bytes);
      layer.waiting.visit(rank, [&](std::uint32_t m) { send(i, s, m, 0); });
    }
    for (int e = program.first_exchange[rank]; e < program.first_exchange[rank + 1]; ++e) {
      const ProgramExchange& exchange = program.exchanges[e];
      if (exchange.stage != Stage::kDispatch) break;  // dispatches come first
      if (num_groups_ == 1 ? exchange.needs != 0 : exchange.needs >> group & 1) free_exchange(i, s, e, rank);
    }
    // The next segment of every group: none is more than one layer ahead.
    for (int g = 0; g < num_groups_; ++g) free_group(i, s, rank, g);
  }

  void free_group(int i, int l, int rank, int group) {
    if (--instances_[i].layers[l].ranks[rank].group_waits[group] == 0) advance_segment(i, l + 1, rank, group);
  }

  // ---- exchanges and messages

  void free_exchange(int i, int l, int e, int rank) {
    ExchangeState& state = instances_[i].layers[l].exchanges[e];
    if (--state.waits == 0) start_exchanges(i, rank, static_cast<int>(state.list));
  }

  /// Starts what may start, in the order of the list.
  void start_exchanges(int i, int rank, int list) {
    PassInstance& instance = instances_[i];
    PassInstance::Rank& own = instance.ranks[rank];
    if (own.instruction < 0) return;
    PassInstance::Place& place = own.next_exchange[list];
    while (place.layer < static_cast<int>(instance.layers.size())) {
      if (place.exchange == place.end) {
        if (++place.layer == static_cast<int>(instance.layers.size())) return;
        const std::vector<int>& first = instance.layers[place.layer].program->first_exchange;
        place.exchange = first[rank];
        place.end = first[rank + 1];
        continue;
      }
      const ExchangeState& state = instance.layers[place.layer].exchanges[place.exchange];
      const bool is_of_list = static_cast<int>(state.list) == list;
      if (is_of_list && state.waits > 0) return;
      const int e = place.exchange++;
      if (is_of_list) start_exchange(i, place.layer, e, rank);
    }
  }

  void start_exchange(int i, int l, int e, int rank) {
    LayerState& layer = instances_[i].layers[l];
    const ProgramExchange& exchange = layer.program->exchanges[e];
    for (std::int64_t m = exchange.first_send; m < exchange.last_send; ++m) {
      const int dst = layer.program->messages[m].dst;
      layer.is_open[dst] ? send(i, l, m, 0) : layer.waiting.add(dst, static_cast<std::uint32_t>(m));
    }
    for (int g = 0; options_.overlaps_linear && g < num_groups_; ++g) {
      if (exchange.frees_at_start >> g & 1) free_group(i, l, rank, g);
    }
    ExchangeState& state = layer.exchanges[e];
    if (--state.missing == 0) state.complete > now_ ? finish_later(i, l, e) : finish_exchange(i, l, e, rank);
  }

  void finish_later(int i, int l, int e) {
    events_.push({instances_[i].layers[l].exchanges[e].complete,
                  EngineKey{static_cast<std::uint64_t>(EventKind::kExchanged), i, l, e}.packed()});
  }

  /// An exchange or a task of a layer.
  void finish_part(int i, int l, int rank) {
    LayerState& layer = instances_[i].layers[l];
    if (--layer.ranks[rank].left == 0) ranks_[rank].buffer_bytes -= (*layer.received_bytes)[rank];
    finish_one(i, rank);
  }

  /// It has started, and all its messages are there.
  void finish_exchange(int i, int l, int e, int rank) {
    LayerState& layer = instances_[i].layers[l];
    const ProgramExchange& exchange = layer.program->exchanges[e];
    for (int t = exchange.first_task; t < exchange.last_task; ++t) {
      if (--layer.task_waits[t] == 0) make_task_ready(i, l, t, rank);
    }
    for (const int next : exchange.next) {
      if (next >= 0) free_exchange(i, l, next, rank);
    }
    if (!options_.overlaps_linear) {
      free_group(i, l, rank, 0);
    } else {
      for (int g = 0; g < num_groups_; ++g) {
        if (exchange.frees_at_end >> g & 1) free_group(i, l, rank, g);
      }
    }
    finish_part(i, l, rank);
  }

  /// Sends a message on, from a place of its way to the next.
  void send(int i, int l, std::int64_t m, int from) {
    const ProgramMessage& message = instances_[i].layers[l].program->messages[m];
    const Way way = way_of(message);
    const int to = next_place(way, from);
    const Network::Departure departure = network_.depart(way[from], way[to], message.bytes, now_);
    Traveller traveller;
    traveller.flight = departure.flight;
    traveller.message = static_cast<std::uint32_t>(m);
    traveller.exchange = message.dst_exchange;
    traveller.to = static_cast<std::uint32_t>(to);
    traveller.instance = static_cast<std::uint32_t>(i);
    traveller.layer = static_cast<std::uint32_t>(l);
    travellers_.push(traveller.flight.arrival, traveller);
    if (options_.records_timeline) recorder_.departure(instances_[i], l, m, way[from], way[to], departure);
  }

  /// Serves all messages that arrive in a slot.
  void arrive(std::int64_t slot) {
    travellers_.take(slot, arriving_);
    arrivals_.clear();
    for (std::size_t k = 0; k < arriving_.size(); ++k) arrivals_.emplace_back(arriving_[k].flight.arrival, k);
    std::sort(arrivals_.begin(), arrivals_.end());
    for (const auto& [time, k] : arrivals_) {
      const Traveller& traveller = arriving_[k];
      const int i = static_cast<int>(traveller.instance), l = static_cast<int>(traveller.layer);
      const Network::Arrival arrival = network_.arrive(traveller.flight);
      if (options_.records_timeline) recorder_.arrival(instances_[i], traveller, arrival);
      LayerState& layer = instances_[i].layers[l];
      if (traveller.to < 3) {
        const std::int64_t index = 4 * static_cast<std::int64_t>(traveller.message) + traveller.to;
        events_.push({arrival.end, EngineKey{static_cast<std::uint64_t>(EventKind::kRelayed), i, l, index}.packed()});
        continue;
      }
      ExchangeState& state = layer.exchanges[traveller.exchange];
      state.complete = std::max(state.complete, arrival.end);
      if (--state.missing == 0) finish_later(i, l, traveller.exchange);
    }
  }

  // ---- compute streams

  void make_task_ready(int i, int l, int t, int rank) {
    const LayerState& layer = instances_[i].layers[l];
    if (options_.is_strict && layer.next_task[rank] != t) return;
    const bool is_cluster = layer.program->tasks[t].is_cluster;
    make_ready(rank, {static_cast<std::uint64_t>(is_cluster ? ItemClass::kClusterTask : ItemClass::kTask), i, l, t});
  }

  void make_ready(int rank, const EngineKey& item) {
    RankState& state = ranks_[rank];
    const std::uint64_t key = item.packed();
    state.ready.push_back(key);
    std::push_heap(state.ready.begin(), state.ready.end(), std::greater<>());
    if (state.is_running) {
      if (state.num_kernels > 1 && key < state.running) interrupt(rank);
    } else if (!state.is_marked) {
      state.is_marked = true;
      marked_.push_back(rank);
    }
  }

  /// Lets a rank stop after the kernel that it is in.
  void interrupt(int rank) {
    RankState& state = ranks_[rank];
    const EngineKey item = EngineKey::unpacked(state.running);
    int count = 1;
    while (count < state.num_kernels && state.since + kernels_ticks(item, rank, count) < now_) ++count;
    if (count == state.num_kernels) return;
    state.num_kernels = static_cast<std::int16_t>(count);
    state.until = state.since + kernels_ticks(item, rank, count);
    push_computed(rank);
  }

  void push_computed(int rank) {
    events_.push({ranks_[rank].until, EngineKey{static_cast<std::uint64_t>(EventKind::kComputed), 0, 0, rank}.packed()});
  }

  /// Of the next `count` kernels of a segment or of weights.
  Ticks kernels_ticks(const EngineKey& item, int rank, int count) const {
    const PassInstance& instance = instances_[item.instance];
    const MicroBatchProgram& program = *instance.program;
    const Segment& segment = instance.segments[item.layer];
    if (item.is_weights()) {
      const Ticks ticks = kernels_.weight_ticks(program, segment, rank);
      const int all = kernels_.num_weight_kernels(program, segment, rank), first = ranks_[rank].weights.kernel;
      return part_of(ticks, first + count, all) - part_of(ticks, first, all);
    }
    const int group = static_cast<int>(item.index), first = instance.ranks[rank].kernel[group];
    return kernels_.begin(program, segment, first + count, rank, group) - kernels_.begin(program, segment, first, rank, group);
  }

  void pick(int rank) {
    RankState& state = ranks_[rank];
    if (state.is_running) return;
    EngineKey item;
    do {
      if (state.ready.empty()) return;
      std::pop_heap(state.ready.begin(), state.ready.end(), std::greater<>());
      state.running = state.ready.back();
      state.ready.pop_back();
      item = EngineKey::unpacked(state.running);
    } while (item.is_weights() && !is_next(state.weights, item));
    state.is_running = true;
    state.since = now_;
    const PassInstance& instance = instances_[item.instance];
    // All kernels that follow each other, until something comes that goes before them.
    int count = 1;
    if (item.is_weights()) {
      count = kernels_.num_weight_kernels(*instance.program, instance.segments[item.layer], rank) - state.weights.kernel;
    } else if (item.is_segment()) {
      const Segment& segment = instance.segments[item.layer];
      const int group = static_cast<int>(item.index), kernel = instance.ranks[rank].kernel[group];
      count = kernels_.last(*instance.program, segment, kernel, rank, group) - kernel;
      if (kernel == segment.barrier * kernels_.count(*instance.program, rank, group))
        state.barrier_idle += now_ - state.idle_since;
    }
    count = std::min<int>(count, std::numeric_limits<std::int16_t>::max());
    state.num_kernels = static_cast<std::int16_t>(count);
    const bool is_task = !item.is_weights() && !item.is_segment();
    state.until =
        later(now_, is_task ? instance.layers[item.layer].program->tasks[item.index].ticks : kernels_ticks(item, rank, count));
    push_computed(rank);
  }

  void computed(int rank) {
    RankState& state = ranks_[rank];
    if (!state.is_running || state.until != now_) return;  // it was interrupted
    state.is_running = false;
    state.idle_since = now_;
    if (!state.is_marked) {
      state.is_marked = true;
      marked_.push_back(rank);
    }
    const EngineKey item = EngineKey::unpacked(state.running);
    if (options_.records_timeline) recorder_.compute(instances_[item.instance], item, rank, state, kernels_);
    PassInstance& instance = instances_[item.instance];
    if (item.is_weights()) return finish_weight_kernels(item, rank, state.num_kernels);
    if (item.is_segment()) {
      const int group = static_cast<int>(item.index);
      instance.ranks[rank].kernel[group] += state.num_kernels;
      return advance_segment(item.instance, item.layer, rank, group);
    }
    LayerState& layer = instance.layers[item.layer];
    const int t = static_cast<int>(item.index);
    if (options_.is_strict) {
      const int next = ++layer.next_task[rank];
      if (next < layer.program->first_task[rank + 1] && layer.task_waits[next] == 0) {
        make_task_ready(item.instance, item.layer, next, rank);
      }
    }
    for (const int next : layer.program->tasks[t].next) {
      if (next >= 0) free_exchange(item.instance, item.layer, next, rank);
    }
    if (!options_.overlaps_linear) free_group(item.instance, item.layer, rank, 0);
    finish_part(item.instance, item.layer, rank);
  }

  static bool is_next(const DeferredWeights& weights, const EngineKey& item) {
    return weights.instance == item.instance && weights.count > 0 && weights.first == item.layer && weights.kernel == item.index;
  }
  void handle(const EngineKey& key) {
    switch (static_cast<EventKind>(key.kind)) {
      case EventKind::kRelayed:
        return send(key.instance, key.layer, key.index / 4, static_cast<int>(key.index % 4));
      case EventKind::kExchanged: {
        const PassProgram& program = *instances_[key.instance].layers[key.layer].program;
        const int e = static_cast<int>(key.index);
        return finish_exchange(key.instance, key.layer, e, program.exchanges[e].rank);
      }
      case EventKind::kComputed:
        return computed(static_cast<int>(key.index));
    }
  }

  const StepProgram& step_;
  const Topology& topology_;
  const SimulationOptions& options_;
  Network network_;
  SpanRecorder recorder_;
  int num_ranks_;
  LinearKernels kernels_;
  int num_groups_;  ///< of tokens
  int num_lists_;   ///< of exchanges, each started in its order: those of the cluster zone apart, if groups are
  int most_repeats_;
  std::map<const PassProgram*, std::vector<std::int64_t>> received_bytes_;
  std::vector<RankState> ranks_;
  std::vector<PassInstance> instances_;  ///< forward and backward of each micro-batch
  std::vector<ProgramCursor> cursors_;
  int log_slot_;
  Calendar<Traveller> travellers_;
  EventQueue events_;
  std::vector<Traveller> arriving_;                      ///< in the slot at hand
  std::vector<std::pair<Ticks, std::size_t>> arrivals_;  ///< the same by time
  std::vector<int> marked_;                              ///< ranks that may have something to pick
  Ticks now_ = 0;
};

}  // namespace

Simulation run_engine(const StepProgram& step, const Topology& topology, const SimulationOptions& options) {
  return Engine(step, topology, options).run();
}

}  // namespace ballast::scheduler
