#include "runtime/metrics/expert_load.h"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>

namespace ballast::metrics {
namespace {

void accumulate(std::vector<std::int64_t>& sum_E, std::span<const std::int64_t> rows_E) {
  if (sum_E.empty()) sum_E.resize(rows_E.size());
  if (sum_E.size() != rows_E.size()) {
    throw std::logic_error(fmt::format("ExpertLoad: the layer has {} experts, counts of {} came", sum_E.size(), rows_E.size()));
  }
  for (std::size_t e = 0; e < rows_E.size(); ++e) sum_E[e] += rows_E[e];
}

}  // namespace

void ExpertLoad::add(std::span<const std::int64_t> micro_batch_rows_E) {
  accumulate(rows_E, micro_batch_rows_E);
  const std::int64_t total = std::accumulate(micro_batch_rows_E.begin(), micro_batch_rows_E.end(), std::int64_t{0});
  if (total == 0) return;
  const auto num_experts = static_cast<std::int64_t>(micro_batch_rows_E.size());
  const std::int64_t fullest = *std::max_element(micro_batch_rows_E.begin(), micro_batch_rows_E.end());
  const std::int64_t minimum = (total + num_experts - 1) / num_experts;
  max_over_mean = std::max(max_over_mean, static_cast<double>(fullest * num_experts) / static_cast<double>(total));
  above_minimum = std::max(above_minimum, fullest - minimum);
}

void ExpertLoad::add(const ExpertLoad& other) {
  if (other.rows_E.empty()) return;
  accumulate(rows_E, other.rows_E);
  max_over_mean = std::max(max_over_mean, other.max_over_mean);
  above_minimum = std::max(above_minimum, other.above_minimum);
}

std::int64_t ExpertLoad::num_dead() const { return std::count(rows_E.begin(), rows_E.end(), 0); }

}  // namespace ballast::metrics
