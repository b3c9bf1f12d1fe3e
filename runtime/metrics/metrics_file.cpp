#include "runtime/metrics/metrics_file.h"

#include <fmt/core.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <type_traits>

#include "scheduler/cost/flops.h"

namespace ballast::metrics {
namespace {

using Json = nlohmann::ordered_json;
constexpr int kVersion = 1;

// Every member of the record and its name in the file, for writing and for reading.
template <class Record, class Visit>
void visit_members(Record& record, Visit&& visit) {
  visit("time", record.unix_seconds);
  visit("step", record.step);
  visit("total_steps", record.total_steps);
  visit("num_steps", record.num_steps);
  visit("tokens", record.tokens);
  visit("interval_tokens", record.interval_tokens);
  visit("interval_sequences", record.interval_sequences);
  visit("num_ranks", record.num_ranks);
  visit("loss", record.loss);
  visit("loss_z", record.loss_z);
  visit("grad_norm", record.grad_norm);
  visit("grad_norm_z", record.grad_norm_z);
  visit("learning_rate", record.learning_rate);
  visit("step_seconds_median", record.step_seconds_median);
  visit("step_seconds_max", record.step_seconds_max);
  visit("interval_seconds", record.interval_seconds);
  visit("data_seconds", record.data_seconds);
  visit("comm_seconds", record.comm_seconds);
  visit("phase_seconds", record.phases);
  visit("tokens_per_second", record.tokens_per_second);
  visit("flops", record.flops);
  visit("peak_flops_per_second", record.peak_flops_per_second);
  visit("mfu", record.mfu);
  visit("imbalance_planned", record.imbalance_planned);
  visit("imbalance_measured", record.imbalance_measured);
  visit("zone_fractions", record.zone_fractions);
  visit("rank_busy_seconds", record.rank_busy_seconds);
  visit("rank_tokens", record.rank_tokens);
  visit("rank_resident_bytes", record.rank_resident_bytes);
  visit("expert_load", record.expert_load);
  visit("dropped_rows", record.dropped_rows);
  visit("skipped_nonfinite", record.skipped_nonfinite);
  visit("skipped_spikes", record.skipped_spikes);
  visit("checkpoint_step", record.checkpoint_step);
  visit("eta_seconds", record.eta_seconds);
}

Json number(double value) {
  if (std::isfinite(value)) return value;
  return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
}

struct Writer {
  Json& object;
  void operator()(const char* name, double value) const { object[name] = number(value); }
  void operator()(const char* name, std::int64_t value) const { object[name] = value; }
  void operator()(const char* name, const std::optional<double>& value) const {
    object[name] = value ? number(*value) : Json(nullptr);
  }
  void operator()(const char* name, const std::vector<std::int64_t>& values) const { object[name] = values; }
  void operator()(const char* name, const std::vector<double>& values) const {
    Json& array = object[name] = Json::array();
    for (const double value : values) array.push_back(number(value));
  }
  void operator()(const char* name, const std::vector<Phase>& phases) const {
    Json& seconds = object[name] = Json::object();
    for (const Phase& phase : phases) seconds[phase.name] = number(phase.seconds);
  }
  void operator()(const char* name, const std::vector<ExpertLoad>& layers) const {
    Json rows = Json::array(), ratio = Json::array(), above = Json::array();
    for (const ExpertLoad& layer : layers) {
      rows.push_back(layer.rows_E);
      ratio.push_back(number(layer.max_over_mean));
      above.push_back(layer.above_minimum);
    }
    object[name] = rows;
    object[fmt::format("{}_max_over_mean", name)] = ratio;
    object[fmt::format("{}_above_minimum", name)] = above;
  }
};

[[noreturn]] void refuse(const std::string& name, const Json& value, const char* wanted) {
  throw std::runtime_error(fmt::format("\"{}\" is {}, {} wanted", name, value.dump().substr(0, 60), wanted));
}

double read_number(const std::string& name, const Json& value) {
  if (value.is_number()) return value.get<double>();
  if (value == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (value == "inf") return std::numeric_limits<double>::infinity();
  if (value == "-inf") return -std::numeric_limits<double>::infinity();
  refuse(name, value, "a number");
}

std::int64_t read_integer(const std::string& name, const Json& value) {
  if (!value.is_number_integer()) refuse(name, value, "an integer");
  return value.get<std::int64_t>();
}

struct Reader {
  const Json& object;

  // The member, or null when it is missing.
  const Json& member(const std::string& name) const {
    static const Json missing;
    const auto found = object.find(name);
    return found == object.end() ? missing : *found;
  }
  const Json& array(const std::string& name) const {
    static const Json empty = Json::array();
    const Json& value = member(name);
    if (value.is_null()) return empty;
    if (!value.is_array()) refuse(name, value, "a list");
    return value;
  }
  void operator()(const char* name, double& out) const {
    if (const Json& value = member(name); !value.is_null()) out = read_number(name, value);
  }
  void operator()(const char* name, std::int64_t& out) const {
    if (const Json& value = member(name); !value.is_null()) out = read_integer(name, value);
  }
  void operator()(const char* name, std::optional<double>& out) const {
    if (const Json& value = member(name); !value.is_null()) out = read_number(name, value);
  }
  void operator()(const std::string& name, std::vector<std::int64_t>& out) const {
    for (const Json& value : array(name)) out.push_back(read_integer(name, value));
  }
  void operator()(const std::string& name, std::vector<double>& out) const {
    for (const Json& value : array(name)) out.push_back(read_number(name, value));
  }
  void operator()(const char* name, std::vector<Phase>& out) const {
    const Json& value = member(name);
    if (value.is_null()) return;
    if (!value.is_object()) refuse(name, value, "an object");
    for (const auto& [phase, seconds] : value.items()) out.push_back({phase, read_number(phase, seconds)});
  }
  void operator()(const char* name, std::vector<ExpertLoad>& out) const {
    std::vector<double> ratio;
    std::vector<std::int64_t> above;
    (*this)(fmt::format("{}_max_over_mean", name), ratio);
    (*this)(fmt::format("{}_above_minimum", name), above);
    for (const Json& layer : array(name)) {
      if (!layer.is_array()) refuse(name, layer, "a list of lists");
      const std::size_t l = out.size();
      if (l >= ratio.size() || l >= above.size()) refuse(name, array(name), "as many layers as in the lists beside it");
      ExpertLoad& load = out.emplace_back();
      for (const Json& rows : layer) load.rows_E.push_back(read_integer(name, rows));
      load.max_over_mean = ratio[l];
      load.above_minimum = above[l];
    }
  }
};

}  // namespace

std::string to_json(const MetricsRecord& record) {
  Json object{{"v", kVersion}};
  visit_members(record, Writer{object});
  object["mfu_formula"] = scheduler::kFlopsFormula;
  return object.dump(-1, ' ', false, Json::error_handler_t::replace);
}

MetricsRecord parse_record(std::string_view json) {
  const Json object = Json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) throw std::runtime_error("not a JSON object");
  if (const auto version = object.find("v"); version == object.end() || *version != kVersion) {
    throw std::runtime_error(fmt::format("version \"v\" is {}, this program reads {}",
                                         version == object.end() ? "missing" : version->dump().substr(0, 60), kVersion));
  }
  MetricsRecord record;
  visit_members(record, Reader{object});
  return record;
}

std::vector<MetricsRecord> read_metrics(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error(fmt::format("{}: cannot be opened", path.string()));
  std::vector<MetricsRecord> records;
  std::string line;
  for (std::int64_t number = 1; std::getline(in, line) && !in.eof(); ++number) {
    try {
      records.push_back(parse_record(line));
    } catch (const std::runtime_error& error) {
      throw std::runtime_error(fmt::format("{}:{}: {}", path.string(), number, error.what()));
    }
  }
  if (in.bad()) throw std::runtime_error(fmt::format("{}: reading failed after {} records", path.string(), records.size()));
  return records;
}

}  // namespace ballast::metrics
