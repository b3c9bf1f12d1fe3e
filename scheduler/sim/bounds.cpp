#include "scheduler/sim/bounds.h"

#include "scheduler/cost/seconds.h"

namespace ballast::scheduler {

namespace {

constexpr int kGrid = 64;
/// The true maximum is at most this much above that of the grid.
constexpr double kGridMargin = 1.02;

/// Most pairs of one head that a row from another node can bring, for a sequence of `length` tokens of which `own` are at home.
double most_pairs_per_row(double length, double own, double key_value_rows) {
  const double others = length - own;
  double most = 0;
  for (int i = 0; i <= kGrid; ++i) {
    for (int j = 0; j <= kGrid; ++j) {
      const double x = others * i / kGrid, y = others * j / kGrid;
      const double rows = 2 * x + key_value_rows * y;
      if (rows <= 0) continue;
      const double both = std::max(0.0, x + y - others);
      most = std::max(most, (own * (x + y - both) + x * y - both * both / 2) / rows);
    }
  }
  return most * kGridMargin;
}

}  // namespace

StepBounds step_bounds(std::span<const std::int64_t> lengths, const ModelShape& model, const Topology& topology,
                       std::int64_t token_cap) {
  const CostRates rates = cost_rates(model, topology);
  StepBounds bounds;
  for (const std::int64_t length : lengths) bounds.work_seconds += rates.sequence_seconds(length);
  bounds.work_seconds /= topology.num_ranks();

  double bandwidth = 0;
  for (const NicGroup& group : topology.nic_groups) bandwidth += group.bytes_per_second;
  if (token_cap <= 0 || bandwidth <= 0 || topology.num_nodes() < 2) return bounds;
  int most_ranks = 0;
  for (const Node& node : topology.nodes) most_ranks = std::max(most_ranks, node.num_ranks);
  const double room = static_cast<double>(token_cap) * most_ranks;
  const double heads = static_cast<double>(model.num_attention_heads);
  const double key_value_rows = 2 * static_cast<double>(model.num_key_value_heads) / heads;
  double rows = 0;
  for (const std::int64_t tokens : lengths) {
    const double length = static_cast<double>(tokens);
    if (length <= room) continue;
    double per_row = 0;
    for (int i = 0; i <= 8; ++i) per_row = std::max(per_row, most_pairs_per_row(length, room * i / 8, key_value_rows));
    rows += heads * (length * length - room * length) / 2 / per_row;
  }
  const double row_bytes = static_cast<double>(model.head_dim * model.element_bytes);
  bounds.network_seconds = 2 * static_cast<double>(model.num_layers) * rows * row_bytes / bandwidth;
  return bounds;
}

}  // namespace ballast::scheduler
