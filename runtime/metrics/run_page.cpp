#include "runtime/metrics/run_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "runtime/metrics/svg_plot.h"
#include "scheduler/trace/html.h"

namespace ballast::metrics {
namespace {

using scheduler::escape_html;

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
constexpr std::size_t kMostColumns = 100;
constexpr std::size_t kLongFact = 100;

constexpr const char* kHead = R"(<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font-family: sans-serif; color: #222; margin: 2em auto; max-width: 1200px; padding: 0 1em; }
h2 { font-size: 1.1em; margin-top: 2em; border-bottom: 1px solid #ddd; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(440px, 1fr)); gap: 1.2em; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(340px, 1fr)); gap: 0 2em; font-size: 0.9em; }
.facts div { display: flex; justify-content: space-between; gap: 1em; border-bottom: 1px dotted #ddd; padding: 2px 0; }
.facts span:last-child { font-family: monospace; overflow-wrap: anywhere; text-align: right; }
pre { background: #f5f5f5; padding: 0.8em; overflow-x: auto; white-space: pre-wrap; }
</style>
)";

using Value = std::function<double(const MetricsRecord&)>;

Series series_of(std::span<const MetricsRecord> records, std::string label, const Value& value) {
  Series series{std::move(label), {}, {}};
  for (const MetricsRecord& record : records) {
    series.x.push_back(static_cast<double>(record.step));
    series.y.push_back(value(record));
  }
  return series;
}

std::string section(const std::string& title, const std::string& body) {
  return fmt::format("<h2>{}</h2>\n<div class=\"plots\">\n{}</div>\n", escape_html(title), body);
}

std::string facts_table(const Facts& facts) {
  std::string table, long_ones;
  for (const auto& [name, value] : facts) {
    if (value.size() > kLongFact || value.find('\n') != std::string::npos) {
      long_ones += fmt::format("<p>{}</p>\n<pre>{}</pre>\n", escape_html(name), escape_html(value));
    } else {
      table += fmt::format("<div><span>{}</span><span>{}</span></div>\n", escape_html(name), escape_html(value));
    }
  }
  return fmt::format("<div class=\"facts\">\n{}</div>\n{}", table, long_ones);
}

std::string learning_plots(std::span<const MetricsRecord> records) {
  const auto one = [&](const char* title, const char* unit, const Value& value, bool is_logarithmic = false) {
    return svg(LinePlot{title, "step", unit, {series_of(records, title, value)}, is_logarithmic});
  };
  return one("Loss", "nats per token", [](const MetricsRecord& r) { return r.loss; }) +
         one(
             "Gradient norm before clipping", "logarithmic", [](const MetricsRecord& r) { return r.grad_norm; }, true) +
         one("Learning rate", "", [](const MetricsRecord& r) { return r.learning_rate; });
}

std::string speed_plots(std::span<const MetricsRecord> records) {
  std::string out =
      svg(LinePlot{"Tokens per second", "step", "all ranks", {series_of(records, "tokens/s", [](const MetricsRecord& r) {
                     return r.tokens_per_second;
                   })}});
  out += svg(LinePlot{
      "MFU", "step", "%", {series_of(records, "MFU", [](const MetricsRecord& r) { return r.mfu ? 100 * *r.mfu : kUnknown; })}});
  LinePlot phases{"Time of the phases of a step", "step", "ms", {}};
  for (std::size_t p = 0; p < records.back().phases.size(); ++p) {
    phases.series.push_back(series_of(records, records.back().phases[p].name, [p](const MetricsRecord& r) {
      return p < r.phases.size() ? 1000 * r.phases[p].seconds : kUnknown;
    }));
  }
  out += svg(phases);
  LinePlot memory{"Resident host memory", "step", "GiB", {}};
  for (std::size_t rank = 0; rank < records.back().rank_resident_bytes.size(); ++rank) {
    memory.series.push_back(series_of(records, fmt::format("rank {}", rank), [rank](const MetricsRecord& r) {
      return rank < r.rank_resident_bytes.size() ? static_cast<double>(r.rank_resident_bytes[rank]) / (1 << 30) : kUnknown;
    }));
  }
  return out + svg(memory);
}

std::string balance_plots(std::span<const MetricsRecord> records) {
  const auto worst_layer = [](const MetricsRecord& r) {
    double worst = kUnknown;
    for (const ExpertLoad& layer : r.expert_load) worst = std::fmax(worst, layer.max_over_mean);
    return worst;
  };
  return svg(LinePlot{
             "Work of the fullest rank over the mean",
             "step",
             "1 = even",
             {series_of(records, "planned", [](const MetricsRecord& r) { return r.imbalance_planned.value_or(kUnknown); }),
              series_of(records, "measured", [](const MetricsRecord& r) { return r.imbalance_measured.value_or(kUnknown); })}}) +
         svg(LinePlot{"Rows of the fullest expert over the mean",
                      "step",
                      "worst layer",
                      {series_of(records, "worst layer", worst_layer)}});
}

// Loads of one layer over their mean; neighbouring records share a column.
HeatMap expert_map(std::span<const MetricsRecord> records, std::size_t layer) {
  HeatMap map{fmt::format("MoE layer {}", layer), "step", "expert", 0, 1, {}};
  map.x_begin = static_cast<double>(records.front().step);
  map.x_end = static_cast<double>(records.back().step);
  const std::size_t run = std::max<std::size_t>(1, (records.size() + kMostColumns - 1) / kMostColumns);
  for (std::size_t begin = 0; begin < records.size(); begin += run) {
    std::vector<double> rows_E;
    for (const MetricsRecord& record : records.subspan(begin, std::min(run, records.size() - begin))) {
      if (layer >= record.expert_load.size()) continue;
      const auto& counts_E = record.expert_load[layer].rows_E;
      if (rows_E.size() < counts_E.size()) rows_E.resize(counts_E.size());
      for (std::size_t e = 0; e < counts_E.size(); ++e) rows_E[e] += static_cast<double>(counts_E[e]);
    }
    const double total = std::accumulate(rows_E.begin(), rows_E.end(), 0.0);
    if (map.cells.size() < rows_E.size()) map.cells.resize(rows_E.size());
    for (std::size_t e = 0; e < map.cells.size(); ++e) {
      map.cells[e].resize(begin / run, kUnknown);
      map.cells[e].push_back(e < rows_E.size() && total > 0 ? rows_E[e] * static_cast<double>(rows_E.size()) / total : kUnknown);
    }
  }
  return map;
}

}  // namespace

std::string run_page(const std::string& title, std::span<const MetricsRecord> records, const Facts& facts) {
  std::string page =
      fmt::format("<!doctype html>\n<html lang=\"en\">\n<title>{0}</title>\n{1}<h1>{0}</h1>\n", escape_html(title), kHead);
  page += facts_table(facts);
  if (records.empty()) return page + "<p>No record yet.</p>\n</html>\n";
  page += section("Learning", learning_plots(records));
  page += section("Speed", speed_plots(records));
  page += section("Balance", balance_plots(records));
  std::string maps;
  for (std::size_t layer = 0; layer < records.back().expert_load.size(); ++layer) maps += svg(expert_map(records, layer));
  if (!maps.empty()) page += section("Expert loads (white: the mean; blue: fewer rows; red: more)", maps);
  return page + "</html>\n";
}

}  // namespace ballast::metrics
