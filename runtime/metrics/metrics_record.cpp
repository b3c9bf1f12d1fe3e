#include "runtime/metrics/metrics_record.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include "runtime/metrics/meters.h"
#include "runtime/metrics/throughput.h"

namespace ballast::metrics {
namespace {

// The one of the two that lies farther from zero.
std::optional<double> farther(std::optional<double> a, std::optional<double> b) {
  if (!a || !b) return a ? a : b;
  return std::abs(*b) > std::abs(*a) ? b : a;
}

template <class T>
void add_by_rank(std::vector<T>& sum, const std::vector<T>& step) {
  if (sum.size() < step.size()) sum.resize(step.size());
  for (std::size_t r = 0; r < step.size(); ++r) sum[r] += step[r];
}

/// Imbalance of steps that every rank ends together: the sum of the fullest ranks over the sum of the means.
class StepsImbalance {
 public:
  void add(const std::vector<double>& load_of_rank) {
    if (load_of_rank.empty()) return;
    fullest_ += *std::max_element(load_of_rank.begin(), load_of_rank.end());
    mean_ += std::accumulate(load_of_rank.begin(), load_of_rank.end(), 0.0) / static_cast<double>(load_of_rank.size());
  }
  std::optional<double> max_over_mean() const { return mean_ > 0 ? std::optional(fullest_ / mean_) : std::nullopt; }

 private:
  double fullest_ = 0, mean_ = 0;
};

}  // namespace

MetricsRecord summarize(std::span<const JudgedStep> steps) {
  if (steps.empty()) throw std::logic_error("summarize: an interval without steps");
  const StepRecord& last = steps.back().step;
  MetricsRecord out;
  out.step = last.step;
  out.total_steps = last.total_steps;
  out.num_steps = static_cast<std::int64_t>(steps.size());
  out.tokens = last.tokens;
  out.num_ranks = last.num_ranks;
  out.learning_rate = last.learning_rate;
  out.peak_flops_per_second = last.peak_flops_per_second;
  out.rank_resident_bytes = last.rank_resident_bytes;
  out.skipped_nonfinite = last.skipped_nonfinite;
  out.skipped_spikes = last.skipped_spikes;
  out.checkpoint_step = last.checkpoint_step;
  out.eta_seconds = steps.back().eta_seconds;

  double loss_sum = 0;
  StepsImbalance planned, measured;
  std::vector<double> seconds;
  for (const auto& [step, loss_z, grad_norm_z, eta] : steps) {
    out.interval_tokens += step.step_tokens;
    out.interval_sequences += step.step_sequences;
    loss_sum += step.loss * static_cast<double>(step.step_tokens);
    out.loss_z = farther(out.loss_z, loss_z);
    out.grad_norm += step.grad_norm;
    out.grad_norm_z = farther(out.grad_norm_z, grad_norm_z);
    seconds.push_back(step.step_seconds);
    out.interval_seconds += step.step_seconds;
    out.data_seconds += step.data_seconds;
    out.comm_seconds += step.comm_seconds;
    if (out.phases.size() < step.phases.size()) out.phases.resize(step.phases.size());
    for (std::size_t p = 0; p < step.phases.size(); ++p) {
      out.phases[p].name = step.phases[p].name;
      out.phases[p].seconds += step.phases[p].seconds;
    }
    out.flops += step.flops;
    planned.add(step.rank_work);
    measured.add(step.rank_busy_seconds);
    if (out.zone_fractions.size() < step.zone_fractions.size()) out.zone_fractions.resize(step.zone_fractions.size());
    for (std::size_t z = 0; z < step.zone_fractions.size(); ++z) {
      out.zone_fractions[z] += step.zone_fractions[z] * static_cast<double>(step.step_tokens);
    }
    add_by_rank(out.rank_busy_seconds, step.rank_busy_seconds);
    add_by_rank(out.rank_tokens, step.rank_tokens);
    if (out.expert_load.size() < step.expert_load.size()) out.expert_load.resize(step.expert_load.size());
    for (std::size_t l = 0; l < step.expert_load.size(); ++l) out.expert_load[l].add(step.expert_load[l]);
    out.dropped_rows += step.dropped_rows;
  }
  const auto num_steps = static_cast<double>(out.num_steps);
  out.loss = out.interval_tokens > 0 ? loss_sum / static_cast<double>(out.interval_tokens) : last.loss;
  out.grad_norm /= num_steps;
  out.data_seconds /= num_steps;
  out.comm_seconds /= num_steps;
  for (Phase& phase : out.phases) phase.seconds /= num_steps;
  out.step_seconds_median = median(seconds);
  out.step_seconds_max = *std::max_element(seconds.begin(), seconds.end());
  if (out.interval_seconds > 0) out.tokens_per_second = static_cast<double>(out.interval_tokens) / out.interval_seconds;
  out.mfu = model_flops_utilization(out.flops, out.interval_seconds, out.peak_flops_per_second);
  out.imbalance_planned = planned.max_over_mean();
  out.imbalance_measured = measured.max_over_mean();
  for (double& fraction : out.zone_fractions) fraction /= static_cast<double>(std::max<std::int64_t>(1, out.interval_tokens));
  return out;
}

}  // namespace ballast::metrics
