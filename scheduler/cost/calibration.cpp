#include "scheduler/cost/calibration.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <stdexcept>
#include <vector>

#include "scheduler/cost/seconds.h"

namespace ballast::scheduler {

namespace {

/// A column of which less than this part is not explained by the others says nothing about its coefficient that noise of one part
/// in a thousand would not drown.
constexpr double kLeastOwnPart = 1e-3;

/// One measured quantity over all points, and its name in messages.
struct Column {
  const char* name;
  std::vector<double> values;
};

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

void check_points(const char* what, std::span<const double> seconds, std::span<const Column> columns) {
  if (seconds.size() < columns.size()) {
    throw std::invalid_argument(fmt::format("calibration of {}: {} points for {} coefficients; measure at least {}", what,
                                            seconds.size(), columns.size(), columns.size()));
  }
  for (std::size_t i = 0; i < seconds.size(); ++i) {
    if (!std::isfinite(seconds[i]) || seconds[i] <= 0) {
      throw std::invalid_argument(
          fmt::format("calibration of {}: point {} took {} seconds; a positive time is wanted", what, i, seconds[i]));
    }
    for (const Column& column : columns) {
      if (column.values[i] < 0) {
        throw std::invalid_argument(
            fmt::format("calibration of {}: point {} has {} {}; it cannot be negative", what, i, column.values[i], column.name));
      }
    }
  }
}

/// Coefficients x of least sum over points of ((sum_k x_k * column_k - seconds) / seconds)^2, by modified Gram-Schmidt on scaled
/// columns.
std::vector<double> fit_relative(const char* what, std::span<const double> seconds, std::span<const Column> columns) {
  const std::size_t n = columns.size();
  std::vector<std::vector<double>> basis(n);
  std::vector<double> scale(n);
  std::vector<std::vector<double>> upper(n, std::vector<double>(n, 0.0));
  for (std::size_t k = 0; k < n; ++k) {
    std::vector<double>& own = basis[k];
    own = columns[k].values;
    for (std::size_t i = 0; i < own.size(); ++i) own[i] /= seconds[i];
    scale[k] = std::sqrt(dot(own, own));
    if (scale[k] == 0) {
      throw std::invalid_argument(fmt::format("calibration of {}: all {} points have 0 {}; measure some that have more", what,
                                              own.size(), columns[k].name));
    }
    for (double& value : own) value /= scale[k];
    for (std::size_t j = 0; j < k; ++j) {
      upper[j][k] = dot(basis[j], own);
      for (std::size_t i = 0; i < own.size(); ++i) own[i] -= upper[j][k] * basis[j][i];
    }
    upper[k][k] = std::sqrt(dot(own, own));
    if (upper[k][k] < kLeastOwnPart) {
      throw std::invalid_argument(fmt::format(
          "calibration of {}: {} of {} points follow the other quantities but for a part of {:.2g} (at least {} is wanted), so "
          "their coefficient cannot be told apart; measure at sizes that differ more",
          what, columns[k].name, own.size(), upper[k][k], kLeastOwnPart));
    }
    for (double& value : own) value /= upper[k][k];
  }
  std::vector<double> rest(seconds.size(), 1.0);
  std::vector<double> result(n);
  for (std::size_t k = 0; k < n; ++k) {
    result[k] = dot(basis[k], rest);
    for (std::size_t i = 0; i < rest.size(); ++i) rest[i] -= result[k] * basis[k][i];
  }
  for (std::size_t k = n; k-- > 0;) {
    for (std::size_t j = k + 1; j < n; ++j) result[k] -= upper[k][j] * result[j];
    result[k] /= upper[k][k];
  }
  for (std::size_t k = 0; k < n; ++k) result[k] /= scale[k];
  return result;
}

/// The last column is the fixed part: without it where it would be negative. The others must come out positive.
std::vector<double> fit_with_fixed_part(const char* what, std::span<const double> seconds, std::span<const Column> columns) {
  check_points(what, seconds, columns);
  std::vector<double> result = fit_relative(what, seconds, columns);
  if (result.back() < 0) {
    result = fit_relative(what, seconds, columns.first(columns.size() - 1));
    result.push_back(0);
  }
  for (std::size_t k = 0; k + 1 < result.size(); ++k) {
    if (result[k] > 0) continue;
    throw std::invalid_argument(
        fmt::format("calibration of {}: the best fit of {} points has {:.3g} seconds per unit of {}; a positive value is wanted: "
                    "measure again, at larger sizes or with less noise",
                    what, seconds.size(), result[k], columns[k].name));
  }
  return result;
}

FitError error_of(std::span<const double> seconds, std::span<const Column> columns, std::span<const double> coefficients) {
  FitError error;
  double squares = 0;
  for (std::size_t i = 0; i < seconds.size(); ++i) {
    double fitted = 0;
    for (std::size_t k = 0; k < columns.size(); ++k) fitted += coefficients[k] * columns[k].values[i];
    const double relative = fitted / seconds[i] - 1;
    squares += relative * relative;
    if (std::abs(relative) > std::abs(error.worst_relative)) {
      error.worst_relative = relative;
      error.worst_point = i;
    }
  }
  error.rms_relative = std::sqrt(squares / static_cast<double>(seconds.size()));
  return error;
}

}  // namespace

WorkFit fit_work(std::span<const WorkPoint> points) {
  std::array<Column, 3> columns{Column{"pairs", {}}, Column{"tokens", {}}, Column{"passes", {}}};
  std::vector<double> seconds;
  for (const WorkPoint& point : points) {
    columns[0].values.push_back(static_cast<double>(point.pairs));
    columns[1].values.push_back(static_cast<double>(point.tokens));
    columns[2].values.push_back(1);
    seconds.push_back(point.seconds);
  }
  const std::vector<double> fit = fit_with_fixed_part("work", seconds, columns);
  return {fit[0], fit[1], fit[2], error_of(seconds, columns, fit)};
}

LinkFit fit_link(std::span<const MessagePoint> points) {
  std::array<Column, 2> columns{Column{"bytes", {}}, Column{"messages", {}}};
  std::vector<double> seconds;
  for (const MessagePoint& point : points) {
    columns[0].values.push_back(static_cast<double>(point.bytes));
    columns[1].values.push_back(1);
    seconds.push_back(point.seconds);
  }
  const std::vector<double> fit = fit_with_fixed_part("a link", seconds, columns);
  return {1 / fit[0], fit[1], error_of(seconds, columns, fit)};
}

void set_rates(Topology& topology, const ModelShape& model, const WorkFit& fit) {
  // Seconds are operations over rate, whatever the formula of the operations.
  const CostRates now = cost_rates(model, topology);
  topology.attention_flops_per_second *= now.pair_seconds / fit.pair_seconds;
  topology.linear_flops_per_second *= now.token_seconds / fit.token_seconds;
}

}  // namespace ballast::scheduler
