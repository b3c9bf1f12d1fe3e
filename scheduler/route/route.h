#pragma once
// One exchange spread over proxies and network cards: dispatch inside the source node, transfers between nodes, combine inside
// the destination node, in pipelined slices.
#include <cstdint>
#include <span>
#include <vector>

#include "scheduler/plan/plan.h"
#include "scheduler/topology/topology.h"

namespace ballast::scheduler {

/// Rows [row_begin, row_end) of one message and the way they take: src -> src_proxy -> dst_proxy -> dst. A step whose two ends
/// are the same rank is not taken, so a part with src_proxy == src and dst_proxy == dst is plain send and receive.
struct RoutedPart {
  int message = 0;  ///< index into the exchange
  std::int64_t row_begin = 0;
  std::int64_t row_end = 0;
  int src = 0;
  int src_proxy = 0;
  int dst_proxy = 0;
  int dst = 0;
  /// The part travels in `num_slices` of the exchange's slices, from `first_slice` on; see slice_rows.
  int first_slice = 0;
  int num_slices = 1;

  bool is_direct() const { return src_proxy == src && dst_proxy == dst; }
  bool operator==(const RoutedPart&) const = default;
};

/// The way of a whole exchange, the same on every rank.
struct RoutedExchange {
  std::vector<RoutedPart> parts;  ///< by message, then by row: every row of every message exactly once, empty messages left out
  int num_slices = 1;
  bool is_routed = false;     ///< false: every part is direct
  double direct_seconds = 0;  ///< estimate with every message on its own cards
  double routed_seconds = 0;  ///< estimate of the best routing found; of direct if there is nothing to move
  double seconds() const { return is_routed ? routed_seconds : direct_seconds; }
  bool operator==(const RoutedExchange&) const = default;
};

/// Routes an exchange: what a node sends through each of its card groups, up to the node's mean, stays there; the surplus goes
/// over proxy ranks to the groups below the mean, and arrives spread in the same way. A group that carries less than
/// small_flow_bytes moves nothing, a message below it is moved whole or not at all, and no rank dispatches or combines for
/// longer than its cards would have taken. Direct where that is not faster.
///
/// Estimates, with alpha the fixed seconds of a message and the messages of a rank in one step posted together:
///     direct: alpha + max over ranks and card groups of bytes / bandwidth
///     routed: (t1 + t2 + t3) / m + (m - 1) / m * max(t2, NVLink) + alpha per step and slice,
/// t1, t2, t3 the slowest dispatch, card group and combine, NVLink all bytes of a rank inside its node, m best_num_slices; never
/// less than direct parts take. The fabric between nodes is taken as free of contention.
/// Input: messages with num_rows >= 0 and ranks of the cluster; row_bytes >= 1.
/// Cost: linear in messages and parts, plus sorting of the messages of overloaded groups.
/// Deterministic: integer rows; ties by message, then group, then rank.
/// Throws: std::invalid_argument for a rank out of range, negative rows, or rows between nodes of which one has no card.
/// Source: the structure is that of arXiv 2509.21841; the split and the formulas are our own.
RoutedExchange route(std::span<const Transfer> messages, std::int64_t row_bytes, const Topology& topology);

/// The same exchange with every message on its own cards. Throws: as route.
RoutedExchange direct_exchange(std::span<const Transfer> messages, std::int64_t row_bytes, const Topology& topology);

/// The three steps of a slice, each of which needs the same slice of the step before.
enum class RouteStep { kDispatch, kTransfer, kCombine };

/// Rows of one part in one slice: a run of its message. Empty for a slice in which the part does not travel.
struct RowRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  bool operator==(const RowRange&) const = default;
};
RowRange slice_rows(const RoutedPart& part, int slice);

/// What ranks send in one step of one slice: the rows of all parts with the same two ends together, in the order of parts.
/// Messages inside a node, and messages that stay whole, are in slice 0 of kTransfer.
/// Returns: sorted by src, then dst; no empty transfers, none from a rank to itself unless a message of the exchange is one.
/// Cost: linear in parts, plus sorting of the result.
std::vector<Transfer> step_transfers(const RoutedExchange& exchange, RouteStep step, int slice);

/// Bytes through one card group.
struct NicLoad {
  std::int64_t sent_bytes = 0;
  std::int64_t received_bytes = 0;
};

/// By index into Topology::nic_groups. Cost: linear in parts.
std::vector<NicLoad> nic_loads(const RoutedExchange& exchange, std::int64_t row_bytes, const Topology& topology);

/// No routing can be faster: max over nodes of the larger of sent and received bytes, over the bandwidth of its reachable cards.
double nic_bound_seconds(std::span<const Transfer> messages, std::int64_t row_bytes, const Topology& topology);

/// Bytes below which what a card group sends to a node like its own is not worth a detour over all cards: with c the seconds
/// that a byte spends in dispatch and combine and D those that it saves on the cards,
/// ((sqrt(c * alpha) + sqrt(c * alpha + D * alpha)) / D)^2.
/// Returns: infinity where a detour saves nothing.
double small_flow_bytes(const Topology& topology, int nic_group);

/// The m in 1..64 that makes steps / m + (m - 1) / m * bottleneck + m * alpha least. Units: seconds; `steps` is the sum of all
/// steps, `bottleneck` the slowest of them.
int best_num_slices(double steps, double bottleneck, double alpha);

}  // namespace ballast::scheduler
