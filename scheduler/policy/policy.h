#pragma once
// What a way of placing sequences looks like: lengths and cluster in, a placement out. Layouts, routes and programs are shared
// code.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "scheduler/cost/model_shape.h"
#include "scheduler/plan/plan.h"
#include "scheduler/remap/balanced_homes.h"
#include "scheduler/topology/topology.h"

namespace ballast::scheduler {

/// How a step is cut and placed; the text form is scheduler.proto.
struct PolicyOptions {
  std::string policy = "longest_first";
  std::int64_t tokens_per_step = 0;         ///< 0: whatever is given
  std::int64_t tokens_per_micro_batch = 0;  ///< 0: one micro-batch per step
  std::int64_t token_cap_per_rank = 0;      ///< most tokens of a micro-batch on one rank, in either layout; 0: no limit
  std::int64_t tokens_per_rank = 0;         ///< what rules that size groups or packs by it aim at; 0: derived from the tokens
  Remap remap = Remap::kOff;                ///< linear layout of placements without homes of their own
  std::optional<bool> is_routed = std::nullopt;  ///< whether exchanges go over proxies and cards; none: as the policy says
};

/// The request cannot be honoured. The text has the numbers.
class InfeasiblePlan : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

/// One micro-batch to place.
struct PlacementRequest {
  std::span<const std::int64_t> lengths;    ///< of all sequences of the step
  std::span<const std::int64_t> sequences;  ///< the micro-batch, in data order; lengths are positive
  const Topology& topology;
  const ModelShape& model;
  std::int64_t token_cap = 0;        ///< always positive: no limit is a very large number
  std::int64_t tokens_per_rank = 0;  ///< as PolicyOptions; 0: derived

  std::int64_t num_tokens() const {
    std::int64_t total = 0;
    for (const std::int64_t s : sequences) total += lengths[s];
    return total;
  }
  /// Tokens that a rank should hold: tokens_per_rank or, where that is 0, the micro-batch over the ranks, rounded up; at least 1.
  std::int64_t token_budget() const {
    if (tokens_per_rank > 0) return tokens_per_rank;
    const std::int64_t num_ranks = topology.num_ranks();
    return std::max<std::int64_t>(1, (num_tokens() + num_ranks - 1) / num_ranks);
  }
};

/// Who holds which sequence, with whom.
struct Placement {
  std::vector<AttentionWork> work;  ///< every query of the micro-batch exactly once
  /// Linear layout by rank. Empty: tokens stay where attention has them (zigzag chunks of rings, token splits of packs).
  std::vector<std::vector<Chunk>> homes;
  /// Per sequence of the request, tokens that the published rule computes; empty: the lengths.
  std::vector<std::int64_t> charged_tokens;
  bool is_routed = false;
};

/// A micro-batch that a policy formed itself. Its placement's `charged_tokens` follow the order of `sequences`.
struct FormedMicroBatch {
  std::vector<std::int64_t> sequences;
  Placement placement;
};

/// A row of the registry.
struct Policy {
  const char* name;
  const char* summary;  ///< one line for `ballast plan --help`
  /// Places one given micro-batch, all of it.
  Placement (*place)(const PlacementRequest&);
  /// Planner mode: cuts a step (`sequences` are all of it) into micro-batches by the policy's published rule and places each.
  /// Every sequence is in one of them. nullptr: the policy only places.
  std::vector<FormedMicroBatch> (*form_micro_batches)(const PlacementRequest&) = nullptr;
  /// False: micro-batches that the policy forms itself may exceed the token cap, as its published rule knows none.
  bool keeps_cap_when_forming = true;
};

/// Sequences of a request by descending length, ties by id.
std::vector<std::int64_t> longest_first_order(const PlacementRequest& request);

/// Throws: InfeasiblePlan when the micro-batch has more tokens than all ranks may hold.
void require_room(const PlacementRequest& request, const char* policy);

/// Throws: InfeasiblePlan when a rank holds more than the token cap of the request; `advice` says what to change.
void require_cap(const PlacementRequest& request, std::span<const AttentionWork> work, const char* policy, const char* advice);

}  // namespace ballast::scheduler
