#pragma once
// How good a policy's plan of one batch is, and what it takes to make it.
#include <cstdint>
#include <map>
#include <string>

#include "scheduler/make_plan.h"

namespace ballast::scheduler {

/// One batch of one policy. Ratios are at least 1 but for rounding.
struct PlannerScore {
  double makespan_seconds = 0;                         ///< simulated, with all overlap
  double makespan_seconds_attention_overlap_only = 0;  ///< simulated, transfers hidden behind attention alone
  /// Simulated makespan, transfers hidden behind attention and behind linear work of ready tokens, over the strict bound: all
  /// attention and linear work of the real tokens divided evenly by the ranks, no communication.
  double makespan_over_strict_bound = 0;
  /// The same over the bound that knows network cards, bytes and the cap (bounds.h).
  double makespan_over_best_bound = 0;
  /// The first without the overlap behind linear work.
  double makespan_over_strict_bound_attention_overlap_only = 0;
  double imbalance_full = 0;          ///< attention and linear work, max over mean
  double imbalance_attention = 0;     ///< attention alone
  double tokens_max_over_budget = 0;  ///< most tokens that a rank holds in a micro-batch, in either layout, over the budget
  double exposed_communication_fraction = 0;  ///< of the makespan, mean over ranks: idle because a message has to come
  int num_micro_batches = 0;
  bool is_exact = false;     ///< both makespans are of every layer and round, or as good as that (Simulation::is_exact)
  int simulated_layers = 0;  ///< of one forward pass, the fewer of the two simulations
  /// CPU time from lengths to placement, layout, homes and checked plan of all ranks, and one rank's messages and tasks.
  double planning_seconds = 0;
  double seconds = 0;   ///< CPU time of planning and simulation, also of one that is not done again
  std::string refusal;  ///< why there is no plan, or none that can be simulated; then the rest is 0 from where it stopped
};

/// Plans in planner mode and simulates; keeps what it simulated, for a plan that comes again: under another cap, often.
class PlannerBenchmark {
 public:
  /// A plan whose rings have more than `most_ring_steps` steps in all, those of one symmetric ring counted once, is not
  /// simulated.
  explicit PlannerBenchmark(std::int64_t most_ring_steps = 500'000'000) : most_ring_steps_(most_ring_steps) {}

  /// What the planner or the simulator refuses is the score's refusal.
  /// Input: request.options.tokens_per_rank is the budget.
  PlannerScore score(const PlanRequest& request);

 private:
  /// Of one plan, on the cluster and model that are kept beside it.
  struct Simulated {
    double makespan_seconds = 0, makespan_seconds_attention_overlap_only = 0;
    double exposed_communication_fraction = 0;
    bool is_exact = false;
    int simulated_layers = 0;
    double seconds = 0;  // CPU time
  };
  const Simulated& simulated(const Plan& plan, const ModelShape& model, const Topology& topology);

  std::int64_t most_ring_steps_;
  Topology topology_;
  ModelShape model_;
  std::map<std::uint64_t, Simulated> simulated_;  // by fingerprint
};

/// One batch alone.
inline PlannerScore score_planner(const PlanRequest& request) { return PlannerBenchmark().score(request); }

}  // namespace ballast::scheduler
