#pragma once
// The timeline of a simulated step.
#include <cstdint>
#include <vector>

#include "scheduler/sim/engine_state.h"
#include "scheduler/sim/linear_kernels.h"
#include "scheduler/sim/network.h"
#include "scheduler/topology/topology.h"
#include "scheduler/trace/timeline.h"

namespace ballast::scheduler {

/// Notes what links and compute streams do; in any order.
class SpanRecorder {
 public:
  /// `topology` must outlive the recorder.
  explicit SpanRecorder(const Topology& topology) : topology_(topology) {}

  /// A message of the layer at `position` leaves `src` for `dst`: ends of its way, or proxies.
  void departure(const PassInstance& instance, int position, std::int64_t message, int src, int dst,
                 const Network::Departure& departure);
  void arrival(const PassInstance& instance, const Traveller& traveller, const Network::Arrival& arrival);
  /// What a rank has just done, before `state` and `instance` count it as done.
  void compute(const PassInstance& instance, const EngineKey& item, int rank, const RankState& state,
               const LinearKernels& kernels);

  /// All of it. The recorder is empty then.
  Timeline take();

 private:
  /// The link is that of the sender, or of the receiver.
  void add_message(const PassInstance& instance, int position, std::int64_t message, int src, int dst, bool is_sender,
                   Ticks begin, Ticks end);
  /// A span for each piece of a segment.
  void add_segment(const PassInstance& instance, const EngineKey& item, int rank, const RankState& state,
                   const LinearKernels& kernels, Span span);

  const Topology& topology_;
  std::vector<Span> spans_;
};

}  // namespace ballast::scheduler
