#pragma once
// Statistics of a stretch of numbers.
#include <cstdint>
#include <deque>
#include <optional>
#include <span>

namespace ballast::metrics {

/// The middle value; the mean of the two middle ones when their number is even.
/// Input: may be unsorted, not empty, without NaN. Throws: std::logic_error when empty.
double median(std::span<const double> values);

/// Fullest over mean, the imbalance of a list of loads.
/// Returns: nothing for an empty list or when all loads are zero.
std::optional<double> max_over_mean(std::span<const double> loads);

/// The newest values, `capacity` at most; NaN and infinities are not taken.
class FiniteWindow {
 public:
  explicit FiniteWindow(std::size_t capacity) : capacity_(capacity) {}

  void add(double value);
  std::size_t size() const { return values_.size(); }
  /// Throws: std::logic_error when the window is empty.
  double median() const;
  /// How far a value lies from the window's mean, in standard deviations of the window: (value - mean) / sd.
  /// Returns: nothing while the window holds fewer than eight values or when the value is not finite; +-infinity when all
  /// values of the window are equal and this one differs.
  std::optional<double> z_score(double value) const;

 private:
  std::size_t capacity_;
  std::deque<double> values_;
};

}  // namespace ballast::metrics
