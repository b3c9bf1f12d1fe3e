#include "runtime/metrics/meters.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <vector>

namespace ballast::metrics {
namespace {

constexpr std::size_t kFewestForZScore = 8;

}  // namespace

double median(std::span<const double> values) {
  if (values.empty()) throw std::logic_error("median: no values");
  std::vector<double> sorted(values.begin(), values.end());
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  if (sorted.size() % 2 == 1) return *middle;
  return (*std::max_element(sorted.begin(), middle) + *middle) / 2;
}

std::optional<double> max_over_mean(std::span<const double> loads) {
  const double sum = std::accumulate(loads.begin(), loads.end(), 0.0);
  if (loads.empty() || sum == 0) return std::nullopt;
  return *std::max_element(loads.begin(), loads.end()) * static_cast<double>(loads.size()) / sum;
}

void FiniteWindow::add(double value) {
  if (!std::isfinite(value)) return;
  values_.push_back(value);
  if (values_.size() > capacity_) values_.pop_front();
}

double FiniteWindow::median() const {
  const std::vector<double> values(values_.begin(), values_.end());
  return metrics::median(values);
}

std::optional<double> FiniteWindow::z_score(double value) const {
  if (values_.size() < kFewestForZScore || !std::isfinite(value)) return std::nullopt;
  const auto count = static_cast<double>(values_.size());
  const double mean = std::accumulate(values_.begin(), values_.end(), 0.0) / count;
  double squares = 0;
  for (const double x : values_) squares += (x - mean) * (x - mean);
  const auto [least, most] = std::minmax_element(values_.begin(), values_.end());
  if (*least == *most) {  // the mean of equal values may be off by a rounding, so it is not asked
    return value == *least ? 0.0 : std::copysign(std::numeric_limits<double>::infinity(), value - *least);
  }
  return (value - mean) / std::sqrt(squares / count);
}

}  // namespace ballast::metrics
