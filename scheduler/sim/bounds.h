#pragma once
// What no plan can beat.
#include <algorithm>
#include <cstdint>
#include <span>

#include "scheduler/cost/model_shape.h"
#include "scheduler/topology/topology.h"

namespace ballast::scheduler {

struct StepBounds {
  double work_seconds = 0;     ///< all work divided evenly over the ranks, no communication
  double network_seconds = 0;  ///< what has to pass the cards of all nodes, evenly, because a sequence does not fit one node
  double seconds() const { return std::max(work_seconds, network_seconds); }
};

/// Bounds of a step of these sequences, whatever the plan and its kind of attention work.
///
/// A node holds at most M = cap * its ranks of the s tokens of a sequence outside attention. With x queries and y keys from other
/// nodes it computes for a head at most M^2 / 2 pairs among its own, and m*(x + y - o) + x*y - o^2/2 others, where o = max(0, x +
/// y
/// - (s - m)) counts those that are both: queries that are late, keys that are early. Each query costs 2 rows (its own and its
/// output), each key 2 * G / N (key and value, shared by the heads of its group). So all nodes together need at least (s^2/2 -
/// M*s/2) / (most pairs per row) rows for every head, in each pass and layer: in backward the gradients of the same rows travel.
/// Received by all cards evenly, behind all other work, they take network_seconds. Input: token_cap of a rank in one micro-batch;
/// 0: none, and then nothing has to travel. Cost: linear in sequences; longest ones search a grid.
StepBounds step_bounds(std::span<const std::int64_t> lengths, const ModelShape& model, const Topology& topology,
                       std::int64_t token_cap);

}  // namespace ballast::scheduler
