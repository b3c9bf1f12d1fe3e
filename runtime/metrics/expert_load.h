#pragma once
// How evenly the experts of one layer are loaded.
#include <cstdint>
#include <span>
#include <vector>

namespace ballast::metrics {

/// Rows that each expert of one MoE layer got, all ranks together. Balance is judged per micro-batch, the scope in which
/// routers balance: sums over micro-batches would hide a crowded one.
struct ExpertLoad {
  std::vector<std::int64_t> rows_E;  ///< sum over the micro-batches
  double max_over_mean = 0;          ///< of the worst micro-batch; 0 before the first row
  std::int64_t above_minimum = 0;    ///< rows of the fullest expert above ceil(rows / E), worst micro-batch; 0 = exact balance

  /// Counts one micro-batch. A micro-batch without rows changes nothing.
  /// Shapes: rows_E of every call has the same length.
  /// Throws: std::logic_error when the number of experts changes.
  void add(std::span<const std::int64_t> rows_E);
  /// Joins the counts of another stretch of the same layer.
  /// Throws: std::logic_error when the number of experts differs.
  void add(const ExpertLoad& other);
  /// Experts without a row.
  std::int64_t num_dead() const;

  bool operator==(const ExpertLoad&) const = default;
};

}  // namespace ballast::metrics
