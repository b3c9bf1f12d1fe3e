#include "launch/config_file.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <system_error>

#include "launch/config_check.h"
#include "launch/config_text.h"
#include "launch/resolved_config.h"
#include "runtime/train/run_config.pb.h"

namespace ballast::launch {
namespace {

/// A little more than the reader accepts, so that it sees when a file is too large.
constexpr std::size_t kMaxFileBytes = (1 << 20) + 1;

/// One load: the run as far as it is read, and what is known about it.
class Loading {
 public:
  Loading(const ConfigSources& sources, const std::string& run_text) : sources_(sources), run_text_(run_text) {}

  LoadedConfig load() {
    // The run file and the assignments are read twice: first for the files that they name, then over those.
    schema::RunConfig named;
    ConfigReading names;
    read_run(named, names);

    if (sources_.model_file.empty()) read_named_file("model_file", named.model_file(), names, "model");
    if (sources_.cluster_file.empty()) read_named_file("cluster_file", named.cluster_file(), names, "cluster");
    reading_.main_source = static_cast<int>(reading_.sources.size());
    if (!sources_.run_file.empty()) read_config_text(run_text_, sources_.run_file.string(), run_, "", reading_);
    if (!sources_.model_file.empty()) replace(sources_.model_file, "model");
    if (!sources_.cluster_file.empty()) replace(sources_.cluster_file, "cluster");
    read_assignments(run_, reading_);
    for (const auto& [field, text] : unreadable_) reading_.add_finding(reading_.positions.at(field), text);

    check_fields(run_, "", reading_);
    fill_defaults(run_);
    run_.clear_model_file();
    run_.clear_cluster_file();
    check_run(run_, sources_, reading_);
    if (std::vector<ConfigFinding> findings = reading_.findings(); !findings.empty()) throw ConfigError(std::move(findings));
    return resolved();
  }

 private:
  void read_run(schema::RunConfig& run, ConfigReading& reading) const {
    if (!sources_.run_file.empty()) read_config_text(run_text_, sources_.run_file.string(), run, "", reading);
    read_assignments(run, reading);
  }

  void read_assignments(schema::RunConfig& run, ConfigReading& reading) const {
    for (std::size_t i = 0; i < sources_.set.size(); ++i) {
      read_config_assignment(sources_.set[i], static_cast<int>(i) + 1, run, reading);
    }
  }

  google::protobuf::Message& component(const std::string& name) {
    return *run_.GetReflection()->MutableMessage(&run_, run_.GetDescriptor()->FindFieldByName(name));
  }

  void read_component(const std::filesystem::path& file, const std::string& name) {
    const std::string text = read_config_file(file);
    reading_.positions[name] = {static_cast<int>(reading_.sources.size()), 1, 1};
    read_config_text(text, file.string(), component(name), name, reading_);
  }

  /// Reads the file that the field `field` names; a path in a file is relative to that file.
  void read_named_file(const std::string& field, const std::string& name, const ConfigReading& names, const std::string& to) {
    if (name.empty()) return;
    const bool is_assigned = names.positions.at(field).line == 0;
    const std::filesystem::path path = is_assigned ? std::filesystem::path(name) : sources_.run_file.parent_path() / name;
    try {
      read_component(path.lexically_normal(), to);
    } catch (const std::invalid_argument& error) {
      unreadable_.emplace_back(field, fmt::format("{}: {}", field, error.what()));
      reading_.doubtful.insert(to);
    }
  }

  void replace(const std::filesystem::path& file, const std::string& name) {
    component(name).Clear();
    std::erase_if(reading_.positions, [&](const auto& given) { return given.first.starts_with(name + "."); });
    read_component(file, name);
  }

  LoadedConfig resolved() const {
    LoadedConfig config;
    config.run = std::make_shared<const schema::RunConfig>(run_);
    config.text = config_text(run_);
    const std::vector<ConfigLeaf> leaves = leaves_of(run_);
    config.hash = config_hash(leaves);
    for (const ConfigLeaf& leaf : leaves) {
      std::string origin = "default";
      if (const auto given = reading_.positions.find(leaf.path); given != reading_.positions.end()) {
        const std::string& source = reading_.sources[given->second.source];
        origin = given->second.line == 0 ? source : fmt::format("{}:{}", source, given->second.line);
      }
      config.origins.push_back({leaf.path, leaf.value, origin});
    }
    return config;
  }

  const ConfigSources& sources_;
  const std::string& run_text_;
  schema::RunConfig run_;
  ConfigReading reading_;
  std::vector<std::pair<std::string, std::string>> unreadable_;  // field that names the file, finding
};

std::string all_findings(const std::vector<ConfigFinding>& findings) {
  std::string text;
  for (const ConfigFinding& finding : findings) text += finding.to_string() + "\n";
  return text +
         fmt::format("{} {}. Field reference: ballast config docs", findings.size(), findings.size() == 1 ? "error" : "errors");
}

}  // namespace

std::string ConfigFinding::to_string() const {
  return line == 0 ? fmt::format("{}:{}: {}", source, column, text) : fmt::format("{}:{}:{}: {}", source, line, column, text);
}

ConfigError::ConfigError(std::vector<ConfigFinding> findings)
    : std::invalid_argument(all_findings(findings)), findings_(std::move(findings)) {}

std::string read_config_file(const std::filesystem::path& path) {
  std::string text(kMaxFileBytes, '\0');
  std::ifstream file(path, std::ios::binary);
  const bool is_folder = std::filesystem::is_directory(path);
  if (!file || is_folder) {
    throw std::invalid_argument(
        fmt::format("cannot read {}: {}", path.string(), is_folder ? "it is a folder" : std::strerror(errno)));
  }
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  return text;
}

LoadedConfig load_config(const ConfigSources& sources) {
  const std::string text = sources.run_file.empty() ? std::string() : read_config_file(sources.run_file);
  return Loading(sources, text).load();
}

LoadedConfig load_run_config(const std::filesystem::path& run_file, std::span<const std::string> set, std::optional<int> world) {
  return load_config({.run_file = run_file, .set = {set.begin(), set.end()}, .world = world});
}

LoadedConfig parse_run_config(const std::string& text, const std::string& name, std::optional<int> world) {
  const ConfigSources sources{.run_file = name, .world = world};
  return Loading(sources, text).load();
}

std::string origins_table(const LoadedConfig& config) {
  std::string table = "path\tvalue\torigin\n";
  for (const FieldOrigin& field : config.origins) table += fmt::format("{}\t{}\t{}\n", field.path, field.value, field.origin);
  return table;
}

}  // namespace ballast::launch
