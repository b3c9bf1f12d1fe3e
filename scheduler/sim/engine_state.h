#pragma once
// How far a simulated step has come.
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "scheduler/plan/late_tokens.h"
#include "scheduler/sim/engine_key.h"
#include "scheduler/sim/network.h"
#include "scheduler/sim/segment.h"
#include "scheduler/sim/step_program.h"

namespace ballast::scheduler {

/// A message on its way to the next rank.
struct Traveller {
  Network::Flight flight;
  std::uint32_t message = 0;
  int exchange = 0;          ///< of the destination
  std::uint32_t to : 2 = 0;  ///< place on its way
  std::uint32_t instance : EngineKey::kInstanceBits = 0;
  std::uint32_t layer : EngineKey::kLayerBits = 0;
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
struct PassInstance {
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

}  // namespace ballast::scheduler
