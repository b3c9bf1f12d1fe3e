#pragma once
// A plan on a virtual clock.
#include <cstdint>
#include <memory>
#include <vector>

#include "scheduler/cost/model_shape.h"
#include "scheduler/plan/expand.h"
#include "scheduler/plan/plan.h"
#include "scheduler/topology/topology.h"
#include "scheduler/trace/timeline.h"

namespace ballast::scheduler {

/// Layers whose gradients of weights may wait. When another one comes, the oldest is done before anything else.
inline constexpr int kMostDeferredLayers = 2;

struct SimulationOptions {
  /// Linear work of tokens that are ready runs while others wait for their attention. The tokens of a rank form two groups, those
  /// whose outputs come back from other ranks and the rest; each goes through the layers by itself, at most one layer ahead of
  /// the other. In backward, gradients of weights wait until nothing else can run, those of at most kMostDeferredLayers layers.
  /// False: a layer's linear work starts when everything of its attention is done and back.
  bool overlaps_linear = true;
  /// With that overlap, most tokens that go through a linear layer in one kernel. 0: all of a group.
  std::int64_t tokens_per_kernel = 1024;
  /// Tasks run in the order of the plan. False: the first one that is ready.
  bool is_strict = false;
  /// Of equal layers in a row so many are simulated, two at least, and the rest grow like those. 0: all. -1: all of a step of up
  /// to twelve million messages and tasks, of a larger one 16, or 8 without that overlap.
  int most_repeats = -1;
  bool records_timeline = false;
  bool records_messages = false;
};

/// Seconds of one rank, and what it needs for them.
struct RankTime {
  double attention_seconds = 0;
  double linear_seconds = 0;
  double exposed_seconds = 0;  ///< idle because a message has to come
  double barrier_seconds = 0;  ///< idle because experts are balanced over the scores of all ranks
  double end_seconds = 0;      ///< from the start of the step to the rank's last work
  /// Most that receives take, posted with their layer's attention and given back when all of that is done.
  std::int64_t most_buffer_bytes = 0;
  int most_deferred_layers = 0;  ///< most layers whose gradients of weights wait at a time
  double busy_seconds() const { return attention_seconds + linear_seconds; }
};

struct NicBytes {
  std::int64_t sent = 0;
  std::int64_t received = 0;
};

/// A message of the plan from its source to its destination, whichever way it takes. A run of a plan without charged tokens sends
/// the same ones.
struct PlanMessage {
  int micro_batch = 0;
  Pass pass = Pass::kForward;
  int layer = 0;
  Stage stage = Stage::kDispatch;
  int queue = 0;
  int round = 0;
  int src = 0;
  int dst = 0;
  std::int64_t bytes = 0;
  auto operator<=>(const PlanMessage&) const = default;
};

struct Simulation {
  double makespan_seconds = 0;
  std::vector<RankTime> ranks;
  std::vector<NicBytes> nics;      ///< by index into Topology::nic_groups
  std::int64_t num_messages = 0;   ///< all layers; parts and slices of routed ones apart
  std::int64_t message_bytes = 0;  ///< all layers, each message once
  /// No layer was left out, or the later half of those that stand for the rest took equally long on every rank; and no round was.
  bool is_exact = true;
  int num_simulated_layers = 0;       ///< of one forward pass
  std::vector<PlanMessage> messages;  ///< of the simulated layers, sorted, if recorded
  Timeline timeline;                  ///< of the simulated layers, if recorded
};

/// Rounds of symmetric rings that are simulated.
inline constexpr int kMostRounds = 128;

/// A plan prepared for simulation with different options.
///
/// A step whose micro-batches are all one symmetric ring, that is all sequences padded to equal chunks on the same ranks, is
/// simulated as one sequence. Beyond `most_rounds` ranks, it is simulated with so many rounds and with three quarters of them,
/// and each of the others adds what those between them do. Each rank has one compute stream, each rank and each card group a link
/// in each direction (network.h). Ranks walk through their programs with the cursor of the runtime; a pass of a layer is its
/// expansion (plan/expand.h): a message travels when its source has started the exchange and its destination is ready to receive.
/// A running kernel is not interrupted; of what is ready, linear work of late tokens goes first, then tasks of the cluster zone,
/// other tasks, linear work of ready tokens, and gradients of weights. In the forward pass of a layer with experts, all ranks
/// wait for each other before the experts. Not counted: messages of experts, gradient reduction and update of parameters, start
/// of kernels.
class Simulator {
 public:
  /// Input: a valid plan for this cluster and model. Cost: that of the expansion, once or twice per pass and micro-batch.
  /// Throws: std::invalid_argument when plan, model and cluster do not fit together, and when the work alone, divided evenly over
  /// the ranks, takes longer than the clock goes (clock.h).
  Simulator(const Plan& plan, const ModelShape& model, const Topology& topology, int most_rounds = kMostRounds);
  ~Simulator();
  Simulator(Simulator&&) noexcept;
  Simulator& operator=(Simulator&&) noexcept;

  /// Cost: layers simulated * (messages + tasks).
  /// Deterministic: the same events in the same order, on every machine.
  /// Throws: std::invalid_argument when the step goes beyond the clock, or sends more bytes than 64 bits count.
  Simulation run(const SimulationOptions& options = {}) const;

 private:
  struct Step;
  std::unique_ptr<const Step> step_;
};

/// Simulator(plan, model, topology).run(options).
Simulation simulate(const Plan& plan, const ModelShape& model, const Topology& topology, const SimulationOptions& options = {});

}  // namespace ballast::scheduler
