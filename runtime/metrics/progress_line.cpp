#include "runtime/metrics/progress_line.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace ballast::metrics {
namespace {

// Three significant digits and a unit: 812, 4.03k, 16.1k, 2.54M.
std::string short_number(double value) {
  if (!std::isfinite(value)) return fmt::format("{}", value);
  const char* unit = "";
  for (const char* next : {"k", "M", "G", "T"}) {
    if (std::abs(value) < 999.5) break;
    value /= 1000;
    unit = next;
  }
  const int digits = *unit == '\0' || std::abs(value) >= 99.95 ? 0 : std::abs(value) >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f}{}", value, digits, unit);
}

std::string milliseconds(double seconds) {
  const double ms = seconds * 1000;
  return fmt::format("{:.{}f}", ms, ms < 9.95 ? 1 : 0);
}

std::string z_score(const std::optional<double>& z) { return z ? fmt::format("{:+.1f}", *z) : "n/a"; }

std::string days_hours_minutes(double seconds) {
  if (!(seconds >= 0) || seconds > 1e12) return "n/a";
  const auto minutes = static_cast<std::int64_t>(std::ceil(seconds / 60));
  return fmt::format("{}-{:02}:{:02}", minutes / 1440, minutes / 60 % 24, minutes % 60);
}

/// 62/30/8%
std::string percentages(const std::vector<double>& fractions) {
  std::string text;
  for (const double fraction : fractions) text += fmt::format("{}{:.0f}", text.empty() ? "" : "/", 100 * fraction);
  return text + "%";
}

std::string expert_balance(const MetricsRecord& record) {
  double worst = 0;
  std::int64_t num_dead = 0, num_rows = 0;
  for (const ExpertLoad& layer : record.expert_load) {
    worst = std::max(worst, layer.max_over_mean);
    num_dead += layer.num_dead();
    num_rows = std::accumulate(layer.rows_E.begin(), layer.rows_E.end(), num_rows);
  }
  const std::int64_t asked = num_rows + record.dropped_rows;
  const double dropped = asked > 0 ? static_cast<double>(record.dropped_rows) / static_cast<double>(asked) : 0;
  return fmt::format("{:.2f}/{}/{:.1f}%", worst, num_dead, 100 * dropped);
}

}  // namespace

std::string progress_line(const MetricsRecord& record) {
  std::string line;
  // Cells of about the same width below each other, so that a column can be read down.
  const auto cell = [&line](const char* key, const std::string& value, std::size_t width) {
    line += fmt::format("{:<{}} ", fmt::format("{}={}", key, value), width);
  };
  const std::string total = record.total_steps > 0 ? std::to_string(record.total_steps) : "n/a";

  cell("step", fmt::format("{}/{}", record.step, total), 6 + 2 * total.size());
  cell("tok", short_number(static_cast<double>(record.tokens)), 9);
  cell("loss", fmt::format("{:.3f}", record.loss), 10);
  cell("z", z_score(record.loss_z), 6);
  cell("gnorm", fmt::format("{:.2f}", record.grad_norm), 10);
  cell("z", z_score(record.grad_norm_z), 6);
  cell("lr", fmt::format("{:.1e}", record.learning_rate), 10);
  cell("ms", milliseconds(record.step_seconds_median) + "/" + milliseconds(record.step_seconds_max), 12);
  cell("tok/s",
       short_number(record.tokens_per_second) + "/" +
           short_number(record.tokens_per_second / static_cast<double>(record.num_ranks)),
       17);
  cell("mfu", record.mfu ? fmt::format("{:.1f}%", 100 * *record.mfu) : "n/a", 9);
  if (!record.rank_resident_bytes.empty()) {
    const auto fullest = *std::max_element(record.rank_resident_bytes.begin(), record.rank_resident_bytes.end());
    cell("mem", fmt::format("{:.2f}", static_cast<double>(fullest) / (1 << 30)), 8);
  }
  cell("comm", milliseconds(record.comm_seconds), 8);
  if (record.imbalance_planned) {
    std::string imbalance = fmt::format("{:.2f}", *record.imbalance_planned);
    if (record.imbalance_measured) imbalance += fmt::format("/{:.2f}", *record.imbalance_measured);
    cell("imb", imbalance, 13);
  }
  if (!record.zone_fractions.empty()) cell("zone", percentages(record.zone_fractions), 16);
  if (!record.expert_load.empty()) cell("moe", expert_balance(record), 15);
  cell("skip", fmt::format("{}/{}", record.skipped_nonfinite, record.skipped_spikes), 8);
  cell("ckpt", record.checkpoint_step >= 0 ? std::to_string(record.checkpoint_step) : "none", 9);
  line += "eta=" + (record.eta_seconds ? days_hours_minutes(*record.eta_seconds) : "n/a");
  return line;
}

}  // namespace ballast::metrics
