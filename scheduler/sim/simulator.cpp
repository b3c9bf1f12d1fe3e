#include "scheduler/sim/simulator.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <utility>
#include <variant>

#include "scheduler/plan/cursor.h"
#include "scheduler/sim/event_queue.h"
#include "scheduler/sim/network.h"
#include "scheduler/sim/segment.h"
#include "scheduler/sim/step_program.h"

namespace ballast::scheduler {

namespace {

/// Messages and tasks up to which all layers are simulated: some seconds of one core.
constexpr std::size_t kMostPartsOfAllLayers = 12'000'000;
/// Beyond that, so many of equal layers: groups of tokens take longer to fall into step.
constexpr int kRepeatsWithOverlap = 16;
constexpr int kRepeatsWithoutOverlap = 8;

/// What can run on a compute stream, first things first.
enum class ItemClass : std::uint64_t { kOverdueWeights, kLateSegment, kClusterTask, kTask, kReadySegment, kWeights };

/// Kinds of events; those of one time happen in this order.
enum class EventKind : std::uint64_t {
  kRelayed,    ///< a message is at its next proxy
  kExchanged,  ///< the last message of an exchange is there
  kComputed,
};

/// One thing of a layer of an instance: an exchange, a relayed message, a task, or a token group. Ordered by instance, layer,
/// index.
constexpr int kIndexBits = 33, kLayerBits = 14;
struct Key {
  std::uint64_t kind = 0;
  int instance = 0;
  int layer = 0;
  std::int64_t index = 0;

  std::uint64_t packed() const {
    return ((kind << 14 | static_cast<std::uint64_t>(instance)) << kLayerBits | static_cast<std::uint64_t>(layer)) << kIndexBits |
           static_cast<std::uint64_t>(index);
  }
  static Key unpacked(std::uint64_t bits) {
    const auto low = [](std::uint64_t value, int count) { return value & ((std::uint64_t{1} << count) - 1); };
    return {bits >> (kIndexBits + kLayerBits + 14), static_cast<int>(low(bits >> (kIndexBits + kLayerBits), 14)),
            static_cast<int>(low(bits >> kIndexBits, kLayerBits)), static_cast<std::int64_t>(low(bits, kIndexBits))};
  }
};

/// The way of a message; its two ends, and proxies between them.
using Way = std::array<int, 4>;
Way way_of(const ProgramMessage& message) { return {message.src, message.src_proxy, message.dst_proxy, message.dst}; }
/// Where a way leaves its next rank: 3 if that is the destination.
int next_place(const Way& way, int at) {
  int next = at + 1;
  while (next < 3 && way[next] == way[at]) ++next;
  while (next < 3 && way[next + 1] == way[next]) ++next;
  return next;
}

/// A message on its way to the next rank.
struct Traveller {
  Network::Flight flight;
  std::uint32_t message = 0;
  int exchange = 0;          ///< of the destination
  std::uint32_t to : 2 = 0;  ///< place on its way
  std::uint32_t instance : 14 = 0;
  std::uint32_t layer : kLayerBits = 0;
};

struct ExchangeState {
  Ticks complete = 0;            ///< all messages that have come are there
  int missing = 0;               ///< messages that have not come, and its own start
  std::uint32_t waits : 31 = 0;  ///< what has to be done before it starts
  std::uint32_t list : 1 = 0;    ///< of its rank's lists
};

/// Messages that wait for receivers, as a list for each of them.
class WaitingMessages {
 public:
  explicit WaitingMessages(int num_ranks = 0) : last_(static_cast<std::size_t>(num_ranks), kNone) {}
  void add(int receiver, std::uint32_t message) {
    messages_.push_back({message, last_[receiver]});
    last_[receiver] = static_cast<int>(messages_.size()) - 1;
  }
  /// Calls visit(message) for all of a receiver, in the order of their coming.
  template <typename Visit>
  void visit(int receiver, const Visit& visit) {
    std::vector<std::uint32_t> found;
    for (int at = last_[receiver]; at != kNone; at = messages_[at].before) found.push_back(messages_[at].message);
    for (std::size_t i = found.size(); i > 0; --i) visit(found[i - 1]);
  }

 private:
  static constexpr int kNone = -1;
  struct Waiting {
    std::uint32_t message = 0;
    int before = kNone;
  };
  std::vector<Waiting> messages_;
  std::vector<int> last_;  ///< by receiver
};

/// A layer's attention in one pass, as far as it has come.
struct LayerState {
  const PassProgram* program = nullptr;
  const std::vector<std::int64_t>* received_bytes = nullptr;  ///< by rank, in all exchanges
  std::vector<ExchangeState> exchanges;
  std::vector<char> is_open;  ///< by rank: it has posted its receives
  WaitingMessages waiting;
  std::vector<int> task_waits;
  std::vector<int> next_task;  ///< by rank, if tasks run in order
  struct Rank {
    // At the end of the segment before this layer.
    Ticks entry = -1;
    Ticks barrier_idle = 0;
    std::array<int, kNumTokenGroups> group_waits{};  ///< what has to be done before the segment after this layer
    int left = 0;                                    ///< exchanges and tasks that are not done
  };
  std::vector<Rank> ranks;
};

/// Forward or backward of one micro-batch.
struct Instance {
  int micro_batch = 0;
  Pass pass = Pass::kForward;
  const MicroBatchProgram* program = nullptr;
  LayerRuns runs;
  std::vector<Segment> segments;
  std::vector<LayerState> layers;
  std::vector<int> barrier_missing;  ///< by segment: groups of ranks that have not come
  std::vector<int> weight_waits;     ///< by rank and segment: groups that are not through it, if its weights wait for them
  /// The next exchange of a list.
  struct Place {
    int layer = 0;
    int exchange = 0;
    int end = 0;  ///< exchanges of the rank in this layer end here
  };
  struct alignas(64) Rank {
    std::int64_t left = 0;                      ///< exchanges, tasks and groups that are not done
    int instruction = -1;                       ///< -1 before its start
    std::array<int, kNumTokenGroups> kernel{};  ///< by group: of the segment it is in
    std::array<Place, 2> next_exchange;         ///< by list
  };
  std::vector<Rank> ranks;
};

/// Gradients of weights that a rank has put off: segments of one backward pass, one after the other.
struct DeferredWeights {
  int instance = 0;
  int kernel = 0;  ///< of the first one
  std::int16_t first = 0;
  std::int16_t count = 0;
};

struct alignas(64) RankState {
  std::vector<std::uint64_t> ready;  ///< heap of keys, lowest first; a key of weights may be out of date
  std::uint64_t running = 0;         ///< in `num_kernels` kernels, from `since` until `until`
  Ticks since = 0;
  Ticks until = 0;
  DeferredWeights weights;
  std::int16_t num_kernels = 1;
  bool is_running = false;
  bool is_marked = false;
  Ticks idle_since = 0;
  Ticks barrier_idle = 0;
  Ticks end = 0;
  std::int64_t buffer_bytes = 0;  ///< posted receives of layers that are not done
  std::int64_t most_buffer_bytes = 0;
  int most_deferred = 0;  ///< layers
};

/// By how much times go on growing: the median growth, as what comes late once is often made up for by the next ones; of two
/// steps at a time if those differ less than half as much, as with layers that are slow and fast in turns.
/// Input: two times or more.
Ticks lasting_growth(const std::vector<Ticks>& times) {
  const auto median = [](std::vector<Ticks>& values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
  };
  Ticks result = 0, least = 0;
  for (std::size_t span = 1; span <= 2 && span < times.size(); ++span) {
    std::vector<Ticks> growths;
    for (std::size_t t = span; t < times.size(); ++t) growths.push_back((times[t] - times[t - span]) / static_cast<Ticks>(span));
    const Ticks growth = median(growths);
    for (Ticks& value : growths) value = std::abs(value - growth);
    const Ticks distance = median(growths);
    if (span > 1 && 2 * distance >= least) break;
    result = growth;
    least = distance;
  }
  return result;
}

class Engine {
 public:
  Engine(const StepProgram& step, const Topology& topology, const SimulationOptions& options)
      : step_(step),
        topology_(topology),
        options_(options),
        network_(topology),
        num_ranks_(topology.num_ranks()),
        num_groups_(options.overlaps_linear ? kNumTokenGroups : 1),
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
      while (!events_.empty() && events_.next_time() == now_) handle(Key::unpacked(events_.pop().id));
    }
    for (int r = 0; r < num_ranks_; ++r) {
      if (!cursors_[r].is_done()) {
        throw std::logic_error(
            fmt::format("simulation: nothing can go on after {} seconds, and rank {} is not done", to_seconds(now_), r));
      }
    }
    return result();
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
    Instance& instance = instances_.emplace_back();
    instance.micro_batch = micro_batch;
    instance.pass = pass;
    instance.program = &step_.micro_batches[micro_batch];
    std::vector<int> order(instance.program->layers.size());
    std::iota(order.begin(), order.end(), 0);
    if (pass == Pass::kBackward) std::reverse(order.begin(), order.end());
    instance.runs = layer_runs(instance.program->layers, order, most_repeats_);
    instance.segments =
        segments(pass, instance.runs.layers, instance.program->layers, step_.token_seconds, options_.overlaps_linear);
    if (instances_.size() > (1u << 14) || instance.segments.size() > (1u << kLayerBits)) {
      throw std::invalid_argument(fmt::format("simulation: {} passes of {} layers; at most {} of {}", instances_.size(),
                                              instance.runs.layers.size(), 1 << 14, (1 << kLayerBits) - 1));
    }
    instance.barrier_missing.assign(instance.segments.size(), num_ranks_ * num_groups_);
    instance.ranks.resize(static_cast<std::size_t>(num_ranks_));
    for (Instance::Rank& rank : instance.ranks) rank.left = num_groups_;
    if (pass == Pass::kBackward && options_.overlaps_linear) defer_weights(instance);
    for (const int layer : instance.runs.layers) make_layer(instance, instance.program->program(pass, layer));
    for (int r = 0; r < num_ranks_ && !instance.layers.empty(); ++r) {
      const std::vector<int>& first = instance.layers[0].program->first_exchange;
      instance.ranks[r].next_exchange.fill({0, first[r], first[r + 1]});
    }
  }

  void defer_weights(Instance& instance) {
    instance.weight_waits.assign(num_ranks_ * instance.segments.size(), num_groups_);
    for (const Segment& segment : instance.segments) {
      for (int r = 0; r < num_ranks_; ++r) instance.ranks[r].left += weight_ticks(instance, segment, r) > 0;
    }
  }

  void make_layer(Instance& instance, const PassProgram& program) {
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
    Instance::Rank& own = instances_[i].ranks[rank];
    if (--own.left > 0) return;
    ranks_[rank].end = now_;
    cursors_[rank].finish(own.instruction);
    advance_program(rank);
  }

  // ---- linear work

  double tokens(const Instance& instance, int rank, int group) const {
    const auto& tokens = instance.program->tokens[rank];
    return num_groups_ == 1 ? tokens[0] + tokens[1] : tokens[group];
  }
  /// Kernels in which a group's tokens go through each piece of a segment.
  int num_kernels(const Instance& instance, int rank, int group) const {
    if (!options_.overlaps_linear || options_.tokens_per_kernel <= 0) return 1;
    const double kernels = tokens(instance, rank, group) / static_cast<double>(options_.tokens_per_kernel);
    return kernels <= 1 ? 1 : static_cast<int>(std::ceil(kernels));
  }
  Ticks piece_ticks(const Instance& instance, const SegmentPiece& piece, int rank, int group) const {
    return to_ticks(tokens(instance, rank, group) * piece.token_seconds);
  }
  /// From the start of a segment to that of one of a group's kernels, if nothing is between them.
  Ticks kernel_begin(const Instance& instance, const Segment& segment, int kernel, int rank, int group) const {
    const int count = num_kernels(instance, rank, group);
    Ticks result = 0;
    for (int p = 0; p < kernel / count; ++p) result += piece_ticks(instance, segment.pieces[p], rank, group);
    if (kernel % count == 0) return result;
    return result + piece_ticks(instance, segment.pieces[kernel / count], rank, group) * (kernel % count) / count;
  }
  /// The kernel where what is started with `kernel` has to stop: at the barrier, or at the end of the segment.
  int last_kernel(const Instance& instance, const Segment& segment, int kernel, int rank, int group) const {
    const int count = num_kernels(instance, rank, group), barrier = segment.barrier * count;
    return kernel < barrier ? barrier : static_cast<int>(segment.pieces.size()) * count;
  }

  /// Goes on with a segment: to its next kernel, to the barrier, or to its end.
  void advance_segment(int i, int s, int rank, int group) {
    Instance& instance = instances_[i];
    const Segment& segment = instance.segments[s];
    int& kernel = instance.ranks[rank].kernel[group];
    const int count = num_kernels(instance, rank, group), end = static_cast<int>(segment.pieces.size()) * count;
    for (; kernel < end; ++kernel) {
      if (kernel == segment.barrier * count && instance.barrier_missing[s] > 0) {
        if (--instance.barrier_missing[s] > 0) return;
        for (int r = 0; r < num_ranks_; ++r) {
          for (int g = 0; g < num_groups_; ++g) advance_segment(i, s, r, g);
        }
        return;
      }
      if (piece_ticks(instance, segment.pieces[kernel / count], rank, group) > 0) {
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

  Ticks weight_ticks(const Instance& instance, const Segment& segment, int rank) const {
    const auto& tokens = instance.program->tokens[rank];
    return to_ticks((tokens[0] + tokens[1]) * segment.weight_seconds);
  }
  /// Kernels in which a rank computes the gradients of the weights of a segment: as many as its inputs take.
  int num_weight_kernels(const Instance& instance, const Segment& segment, int rank) const {
    return static_cast<int>(segment.pieces.size()) * (num_kernels(instance, rank, 0) + num_kernels(instance, rank, 1));
  }

  void defer_weights(int i, int s, int rank) {
    if (weight_ticks(instances_[i], instances_[i].segments[s], rank) == 0) return;
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

  void finish_weight_kernels(const Key& item, int rank, int count) {
    DeferredWeights& weights = ranks_[rank].weights;
    const Instance& instance = instances_[item.instance];
    weights.kernel += count;
    const bool is_last = weights.kernel == num_weight_kernels(instance, instance.segments[item.layer], rank);
    if (is_last) {
      ++weights.first;
      --weights.count;
      weights.kernel = 0;
    }
    if (weights.count > 0) make_weights_ready(item.instance, rank);
    if (is_last) finish_one(item.instance, rank);
  }

  void finish_segment(int i, int s, int rank, int group) {
    Instance& instance = instances_[i];
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
    Instance& instance = instances_[i];
    Instance::Rank& own = instance.ranks[rank];
    if (own.instruction < 0) return;
    Instance::Place& place = own.next_exchange[list];
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
                  Key{static_cast<std::uint64_t>(EventKind::kExchanged), i, l, e}.packed()});
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
    if (options_.records_timeline) record_message(i, l, m, way[from], way[to], true, departure.begin, departure.end);
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
      if (options_.records_timeline) record_arrival(traveller, arrival);
      LayerState& layer = instances_[i].layers[l];
      if (traveller.to < 3) {
        const std::int64_t index = 4 * static_cast<std::int64_t>(traveller.message) + traveller.to;
        events_.push({arrival.end, Key{static_cast<std::uint64_t>(EventKind::kRelayed), i, l, index}.packed()});
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

  void make_ready(int rank, const Key& item) {
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
    const Key item = Key::unpacked(state.running);
    int count = 1;
    while (count < state.num_kernels && state.since + kernels_ticks(item, rank, count) < now_) ++count;
    if (count == state.num_kernels) return;
    state.num_kernels = static_cast<std::int16_t>(count);
    state.until = state.since + kernels_ticks(item, rank, count);
    push_computed(rank);
  }

  void push_computed(int rank) {
    events_.push({ranks_[rank].until, Key{static_cast<std::uint64_t>(EventKind::kComputed), 0, 0, rank}.packed()});
  }

  /// Of the next `count` kernels of a segment or of weights.
  Ticks kernels_ticks(const Key& item, int rank, int count) const {
    const Instance& instance = instances_[item.instance];
    const Segment& segment = instance.segments[item.layer];
    if (is_weights(item)) {
      const Ticks ticks = weight_ticks(instance, segment, rank);
      const int all = num_weight_kernels(instance, segment, rank), first = ranks_[rank].weights.kernel;
      return ticks * (first + count) / all - ticks * first / all;
    }
    const int group = static_cast<int>(item.index), first = instance.ranks[rank].kernel[group];
    return kernel_begin(instance, segment, first + count, rank, group) - kernel_begin(instance, segment, first, rank, group);
  }

  void pick(int rank) {
    RankState& state = ranks_[rank];
    if (state.is_running) return;
    Key item;
    do {
      if (state.ready.empty()) return;
      std::pop_heap(state.ready.begin(), state.ready.end(), std::greater<>());
      state.running = state.ready.back();
      state.ready.pop_back();
      item = Key::unpacked(state.running);
    } while (is_weights(item) && !is_next(state.weights, item));
    state.is_running = true;
    state.since = now_;
    const Instance& instance = instances_[item.instance];
    // All kernels that follow each other, until something comes that goes before them.
    int count = 1;
    if (is_weights(item)) {
      count = num_weight_kernels(instance, instance.segments[item.layer], rank) - state.weights.kernel;
    } else if (is_segment(item)) {
      const Segment& segment = instance.segments[item.layer];
      const int group = static_cast<int>(item.index), kernel = instance.ranks[rank].kernel[group];
      count = last_kernel(instance, segment, kernel, rank, group) - kernel;
      if (kernel == segment.barrier * num_kernels(instance, rank, group)) state.barrier_idle += now_ - state.idle_since;
    }
    count = std::min<int>(count, std::numeric_limits<std::int16_t>::max());
    state.num_kernels = static_cast<std::int16_t>(count);
    const bool is_task = !is_weights(item) && !is_segment(item);
    state.until =
        now_ + (is_task ? instance.layers[item.layer].program->tasks[item.index].ticks : kernels_ticks(item, rank, count));
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
    const Key item = Key::unpacked(state.running);
    if (options_.records_timeline) record_compute(rank, item);
    Instance& instance = instances_[item.instance];
    if (is_weights(item)) return finish_weight_kernels(item, rank, state.num_kernels);
    if (is_segment(item)) {
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

  static bool is_weights(const Key& item) {
    const auto kind = static_cast<ItemClass>(item.kind);
    return kind == ItemClass::kOverdueWeights || kind == ItemClass::kWeights;
  }
  static bool is_next(const DeferredWeights& weights, const Key& item) {
    return weights.instance == item.instance && weights.count > 0 && weights.first == item.layer && weights.kernel == item.index;
  }
  static bool is_segment(const Key& item) {
    const auto kind = static_cast<ItemClass>(item.kind);
    return kind == ItemClass::kLateSegment || kind == ItemClass::kReadySegment;
  }

  void handle(const Key& key) {
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

  // ---- records

  void record_arrival(const Traveller& traveller, const Network::Arrival& arrival) {
    const int i = static_cast<int>(traveller.instance), l = static_cast<int>(traveller.layer),
              to = static_cast<int>(traveller.to);
    const Way way = way_of(instances_[i].layers[l].program->messages[traveller.message]);
    int from = to - 1;
    while (way[from] == way[to]) --from;
    record_message(i, l, traveller.message, way[from], way[to], false, arrival.begin, arrival.free);
  }

  void record_message(int i, int l, std::int64_t m, int src, int dst, bool is_sender, Ticks begin, Ticks end) {
    const Instance& instance = instances_[i];
    const LayerState& layer = instance.layers[l];
    const ProgramMessage& message = layer.program->messages[m];
    const ProgramExchange& exchange = layer.program->exchanges[message.src_exchange];
    const bool is_nic = network_.is_between_nodes(src, dst);
    Span span;
    span.lane = is_nic ? (is_sender ? Lane::kNicSend : Lane::kNicReceive) : (is_sender ? Lane::kNodeSend : Lane::kNodeReceive);
    span.work = static_cast<Work>(static_cast<int>(Work::kDispatch) + static_cast<int>(exchange.stage));
    span.pass = instance.pass;
    span.rank = is_sender ? src : dst;
    span.peer = is_sender ? dst : src;
    span.owner = is_nic ? topology_.nic_group_of_rank[span.rank] : span.rank;
    span.micro_batch = instance.micro_batch;
    span.layer = instance.runs.layers[l];
    span.queue = exchange.queue;
    span.round = exchange.round;
    span.bytes = message.bytes;
    span.begin_seconds = to_seconds(begin);
    span.end_seconds = to_seconds(end);
    spans_.push_back(span);
  }

  /// What a rank has just done.
  void record_compute(int rank, const Key& item) {
    const RankState& state = ranks_[rank];
    const Instance& instance = instances_[item.instance];
    Span span;
    span.pass = instance.pass;
    span.owner = span.rank = rank;
    span.micro_batch = instance.micro_batch;
    span.begin_seconds = to_seconds(state.since);
    span.end_seconds = to_seconds(state.until);
    if (is_weights(item)) {
      span.work = Work::kWeightGradients;
      span.layer = instance.segments[item.layer].layer;
    } else if (is_segment(item)) {
      return record_segment(rank, item, span);
    } else {
      const ProgramTask& task = instance.layers[item.layer].program->tasks[item.index];
      span.layer = instance.runs.layers[item.layer];
      span.queue = task.queue;
      span.round = task.round;
      span.sequence = task.sequence;
    }
    spans_.push_back(span);
  }

  /// A span for each piece of a segment.
  void record_segment(int rank, const Key& item, Span span) {
    const RankState& state = ranks_[rank];
    const Instance& instance = instances_[item.instance];
    const Segment& segment = instance.segments[item.layer];
    const int group = static_cast<int>(item.index), count = num_kernels(instance, rank, group);
    const int first = instance.ranks[rank].kernel[group], last = first + state.num_kernels;
    span.layer = segment.layer;
    for (int begin = first, end = first; begin < last; begin = end) {
      end = std::min(last, (begin / count + 1) * count);
      span.work = segment.pieces[begin / count].work;
      span.begin_seconds = to_seconds(state.since + kernels_ticks(item, rank, begin - first));
      span.end_seconds = to_seconds(state.since + kernels_ticks(item, rank, end - first));
      if (span.end_seconds > span.begin_seconds) spans_.push_back(span);
    }
  }

  // ---- result

  Simulation result() {
    Simulation simulation;
    simulation.ranks.resize(num_ranks_);
    simulation.nics.resize(topology_.nic_groups.size());
    std::vector<Ticks> end(num_ranks_), barrier(num_ranks_), attention(num_ranks_, 0), linear(num_ranks_, 0);
    for (int r = 0; r < num_ranks_; ++r) {
      end[r] = ranks_[r].end;
      barrier[r] = ranks_[r].barrier_idle;
    }
    for (const Instance& instance : instances_) {
      if (instance.pass == Pass::kForward) {
        simulation.num_simulated_layers = std::max(simulation.num_simulated_layers, static_cast<int>(instance.layers.size()));
      }
      for (const LayerRun& run : instance.runs.runs) {
        if (run.num_skipped > 0) add_skipped(instance, run, end, barrier, simulation);
      }
      for (std::size_t s = 0; s < instance.segments.size(); ++s) {
        const int times = instance.runs.multiplicity(static_cast<int>(s));
        for (int r = 0; r < num_ranks_; ++r) {
          for (int g = 0; g < num_groups_; ++g) {
            for (const SegmentPiece& piece : instance.segments[s].pieces) linear[r] += times * piece_ticks(instance, piece, r, g);
          }
          linear[r] += times * weight_ticks(instance, instance.segments[s], r);
        }
      }
      for (std::size_t l = 0; l < instance.layers.size(); ++l) add_layer(instance, static_cast<int>(l), attention, simulation);
    }
    for (int r = 0; r < num_ranks_; ++r) {
      RankTime& rank = simulation.ranks[r];
      rank.attention_seconds = to_seconds(attention[r]);
      rank.linear_seconds = to_seconds(linear[r]);
      rank.barrier_seconds = to_seconds(barrier[r]);
      rank.most_buffer_bytes = ranks_[r].most_buffer_bytes;
      rank.most_deferred_layers = ranks_[r].most_deferred;
      rank.end_seconds = to_seconds(end[r]);
      rank.exposed_seconds = to_seconds(std::max<Ticks>(0, end[r] - attention[r] - linear[r] - barrier[r]));
      simulation.makespan_seconds = std::max(simulation.makespan_seconds, rank.end_seconds);
    }
    join_parts(simulation.messages);
    simulation.timeline.node_of_rank = topology_.node_of_rank;
    for (const NicGroup& group : topology_.nic_groups) simulation.timeline.node_of_nic_group.push_back(group.node);
    simulation.timeline.spans = std::move(spans_);
    return simulation;
  }

  /// Lets every rank take as long for each of the layers that a run leaves out as for those in the later half, but not longer
  /// than the rank that comes last took: who waits less now will have to wait for that one. And not shorter than it is busy: who
  /// was early at first cannot stay ahead.
  void add_skipped(const Instance& instance, const LayerRun& run, std::vector<Ticks>& end, std::vector<Ticks>& barrier,
                   Simulation& simulation) const {
    const int last = run.first + (run.num_simulated - 1) * run.period;
    const int times = std::max(1, run.num_simulated / 2);
    const auto position = [&](int time) { return last - (times - time) * run.period; };
    std::vector<Ticks> entries(static_cast<std::size_t>(times) + 1);
    for (int t = 0; t <= times; ++t) {
      for (const LayerState::Rank& rank : instance.layers[position(t)].ranks) entries[t] = std::max(entries[t], rank.entry);
    }
    const Ticks latest = lasting_growth(entries);
    std::vector<Ticks> busy(static_cast<std::size_t>(num_ranks_), 0);
    for (int p = last - run.period + 1; p <= last; ++p) add_busy(instance, p, busy);
    for (int r = 0; r < num_ranks_; ++r) {
      for (int t = 0; t <= times; ++t) entries[t] = instance.layers[position(t)].ranks[r].entry;
      const Ticks growth = std::max(busy[r], std::min(latest, lasting_growth(entries)));
      end[r] += growth * run.num_skipped;
      barrier[r] += (instance.layers[last].ranks[r].barrier_idle - instance.layers[position(0)].ranks[r].barrier_idle) *
                    run.num_skipped / times;
      for (int t = 0; t < times; ++t) simulation.is_exact = simulation.is_exact && entries[t + 1] - entries[t] == growth;
    }
  }

  /// Adds the work of each rank in a layer and the segment before it.
  void add_busy(const Instance& instance, int position, std::vector<Ticks>& busy) const {
    const PassProgram& program = *instance.layers[position].program;
    const Segment& segment = instance.segments[position];
    for (int r = 0; r < num_ranks_; ++r) {
      for (int t = program.first_task[r]; t < program.first_task[r + 1]; ++t) busy[r] += program.tasks[t].ticks;
      for (int g = 0; g < num_groups_; ++g) {
        for (const SegmentPiece& piece : segment.pieces) busy[r] += piece_ticks(instance, piece, r, g);
      }
      busy[r] += weight_ticks(instance, segment, r);
    }
  }

  /// Sorts messages and makes one of the parts of a routed one.
  static void join_parts(std::vector<PlanMessage>& messages) {
    std::sort(messages.begin(), messages.end());
    std::size_t kept = 0;
    for (const PlanMessage& message : messages) {
      PlanMessage like = message;
      if (kept > 0) like.bytes = messages[kept - 1].bytes;
      if (kept > 0 && messages[kept - 1] == like) {
        messages[kept - 1].bytes += message.bytes;
      } else {
        messages[kept++] = message;
      }
    }
    messages.resize(kept);
  }

  void add_layer(const Instance& instance, int position, std::vector<Ticks>& attention, Simulation& simulation) const {
    const PassProgram& program = *instance.layers[position].program;
    const int times = instance.runs.multiplicity(position);
    for (int r = 0; r < num_ranks_; ++r) {
      for (int t = program.first_task[r]; t < program.first_task[r + 1]; ++t) attention[r] += times * program.tasks[t].ticks;
    }
    for (const ProgramMessage& message : program.messages) {
      simulation.num_messages += times;
      simulation.message_bytes += times * message.bytes;
      if (network_.is_between_nodes(message.src_proxy, message.dst_proxy)) {
        simulation.nics[topology_.nic_group_of_rank[message.src_proxy]].sent += times * message.bytes;
        simulation.nics[topology_.nic_group_of_rank[message.dst_proxy]].received += times * message.bytes;
      }
      if (options_.records_messages) {
        const ProgramExchange& exchange = program.exchanges[message.src_exchange];
        simulation.messages.push_back({instance.micro_batch, instance.pass, instance.runs.layers[position], exchange.stage,
                                       exchange.queue, exchange.round, message.src, message.dst, message.bytes});
      }
    }
  }

  const StepProgram& step_;
  const Topology& topology_;
  const SimulationOptions& options_;
  Network network_;
  int num_ranks_;
  int num_groups_;
  int num_lists_;  ///< of exchanges, each started in its order: those of the cluster zone apart, if groups are
  int most_repeats_;
  std::map<const PassProgram*, std::vector<std::int64_t>> received_bytes_;
  std::vector<RankState> ranks_;
  std::vector<Instance> instances_;  ///< forward and backward of each micro-batch
  std::vector<ProgramCursor> cursors_;
  int log_slot_;
  Calendar<Traveller> travellers_;
  EventQueue events_;
  std::vector<Traveller> arriving_;                      ///< in the slot at hand
  std::vector<std::pair<Ticks, std::size_t>> arrivals_;  ///< the same by time
  std::vector<int> marked_;                              ///< ranks that may have something to pick
  Ticks now_ = 0;
  std::vector<Span> spans_;
};

}  // namespace

struct Simulator::Step {
  StepProgram program;
  /// The same with fewer rounds, if not all rounds of its rings are in `program`.
  std::optional<StepProgram> shorter;
  Topology topology;
};

namespace {

/// Goes on in a straight line from two values to what they would be `ahead` times their distance further.
template <typename Number>
Number ahead_of(Number shorter, Number longer, double ahead) {
  return longer + static_cast<Number>(ahead * static_cast<double>(longer - shorter));
}

/// The step with all rounds of its rings, of which each adds as much as the last ones that are simulated.
Simulation with_all_rounds(const Simulation& shorter, Simulation longer, double ahead) {
  longer.is_exact = false;
  longer.makespan_seconds = 0;
  for (std::size_t r = 0; r < longer.ranks.size(); ++r) {
    for (double RankTime::*part : {&RankTime::attention_seconds, &RankTime::linear_seconds, &RankTime::exposed_seconds,
                                   &RankTime::barrier_seconds, &RankTime::end_seconds}) {
      longer.ranks[r].*part = std::max(0.0, ahead_of(shorter.ranks[r].*part, longer.ranks[r].*part, ahead));
    }
    longer.makespan_seconds = std::max(longer.makespan_seconds, longer.ranks[r].end_seconds);
  }
  for (std::size_t g = 0; g < longer.nics.size(); ++g) {
    longer.nics[g].sent = ahead_of(shorter.nics[g].sent, longer.nics[g].sent, ahead);
    longer.nics[g].received = ahead_of(shorter.nics[g].received, longer.nics[g].received, ahead);
  }
  longer.num_messages = ahead_of(shorter.num_messages, longer.num_messages, ahead);
  longer.message_bytes = ahead_of(shorter.message_bytes, longer.message_bytes, ahead);
  return longer;
}

}  // namespace

Simulator::Simulator(const Plan& plan, const ModelShape& model, const Topology& topology, int most_rounds) {
  if (most_rounds < 4) throw std::invalid_argument(fmt::format("simulation: {} rounds of a ring; give 4 or more", most_rounds));
  Step step{step_program(plan, model, topology, most_rounds), std::nullopt, topology};
  if (step.program.num_rounds < step.program.all_rounds) step.shorter = step_program(plan, model, topology, most_rounds * 3 / 4);
  step_ = std::make_unique<const Step>(std::move(step));
}
Simulator::~Simulator() = default;
Simulator::Simulator(Simulator&&) noexcept = default;
Simulator& Simulator::operator=(Simulator&&) noexcept = default;

Simulation Simulator::run(const SimulationOptions& options) const {
  Simulation simulation = Engine(step_->program, step_->topology, options).run();
  if (!step_->shorter) return simulation;
  SimulationOptions silent = options;
  silent.records_timeline = silent.records_messages = false;
  const int num_rounds = step_->program.num_rounds;
  const double ahead = static_cast<double>(step_->program.all_rounds - num_rounds) / (num_rounds - step_->shorter->num_rounds);
  return with_all_rounds(Engine(*step_->shorter, step_->topology, silent).run(), std::move(simulation), ahead);
}

Simulation simulate(const Plan& plan, const ModelShape& model, const Topology& topology, const SimulationOptions& options) {
  return Simulator(plan, model, topology).run(options);
}

}  // namespace ballast::scheduler
