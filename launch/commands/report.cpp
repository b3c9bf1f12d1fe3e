// ballast report <run folder>: a run as a page of plots.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <ostream>
#include <system_error>

#include "launch/commands.h"
#include "launch/exit_code.h"
#include "runtime/data/data_error.h"
#include "runtime/metrics/meters.h"
#include "runtime/metrics/metrics_file.h"
#include "runtime/metrics/run_page.h"

namespace ballast::launch {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// What the run said at its end; an empty object while it is not finished.
Json read_summary(const fs::path& path) {
  if (!fs::exists(path)) return Json::object();
  std::ifstream in(path, std::ios::binary);
  Json summary = Json::parse(in, nullptr, /*allow_exceptions=*/false);
  if (!summary.is_object()) throw data::DataError(fmt::format("{}: not a JSON object", path.string()));
  return summary;
}

// Members of objects by dotted names; lists as JSON text.
void flatten(const std::string& name, const Json& value, metrics::Facts& facts) {
  if (value.is_object()) {
    for (const auto& [key, member] : value.items()) flatten(name.empty() ? key : name + "." + key, member, facts);
  } else {
    facts.emplace_back(name, value.is_string() ? value.get<std::string>() : value.dump());
  }
}

// What the records alone tell.
Json figures(const std::vector<metrics::MetricsRecord>& records) {
  Json out{{"records", records.size()}};
  if (records.empty()) return out;
  std::vector<double> speeds;
  double worst_ratio = 0;
  std::int64_t worst_above = 0;
  for (const metrics::MetricsRecord& record : records) {
    speeds.push_back(record.tokens_per_second);
    for (const metrics::ExpertLoad& layer : record.expert_load) {
      worst_ratio = std::max(worst_ratio, layer.max_over_mean);
      worst_above = std::max(worst_above, layer.above_minimum);
    }
  }
  out["first_step"] = records.front().step;
  out["last_step"] = records.back().step;
  out["tokens"] = records.back().tokens;
  out["loss_first"] = records.front().loss;
  out["loss_last"] = records.back().loss;
  out["tokens_per_second_median"] = metrics::median(speeds);
  if (!records.back().expert_load.empty()) {
    out["expert_load_max_over_mean_worst"] = worst_ratio;
    out["expert_load_above_minimum_worst"] = worst_above;
  }
  return out;
}

void write_file(const fs::path& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  out << text;
  out.close();
  if (!out) throw std::runtime_error(fmt::format("{}: cannot be written; name another file with --out", path.string()));
}

}  // namespace

int run_report(const CommandLine& line) {
  const fs::path folder = line.arguments.front();
  const fs::path records_path = folder / metrics::kMetricsFile;
  if (!fs::exists(records_path)) {
    throw UsageError(fmt::format("ballast report: {} is not there; name the folder of a run that has trained at least one step",
                                 records_path.string()));
  }
  std::vector<metrics::MetricsRecord> records;
  try {
    records = metrics::read_metrics(records_path);
  } catch (const std::runtime_error& error) {
    throw data::DataError(error.what());
  }
  const Json summary = read_summary(folder / "summary.json");
  metrics::Facts facts;
  flatten("", summary.empty() ? figures(records) : summary, facts);

  const fs::path page_path = line.out_path.empty() ? folder / "report.html" : fs::path(line.out_path);
  const std::string name = fs::weakly_canonical(folder).filename().string();
  write_file(page_path, metrics::run_page("Run " + name, records, facts));
  if (line.json) {
    Json answer{{"run_folder", folder.string()}, {"page", page_path.string()}};
    answer.update(figures(records));
    answer["summary"] = summary;
    *line.output << answer.dump() << "\n";
  } else {
    *line.output << fmt::format("{}: {} records; open {} in a browser\n", name, records.size(), page_path.string());
  }
  return 0;
}

}  // namespace ballast::launch
