// ballast config: what a run file means, before anything runs.
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <ostream>

#include "launch/commands.h"
#include "launch/config_docs.h"
#include "launch/config_file.h"
#include "launch/exit_code.h"

namespace ballast::launch {
namespace {

using nlohmann::json;

/// The run files of a subcommand, after its name.
std::vector<std::string> files(const CommandLine& line, std::size_t count) {
  if (line.arguments.size() != count + 1) {
    throw UsageError(fmt::format("ballast config {} takes {} run file{}, got {} arguments", line.arguments[0], count,
                                 count == 1 ? "" : "s", line.arguments.size() - 1));
  }
  return {line.arguments.begin() + 1, line.arguments.end()};
}

int show(const CommandLine& line) {
  const LoadedConfig config = load_run_config(files(line, 1)[0], line.set, line.world);
  if (line.json) {
    json fields = json::array();
    for (const FieldOrigin& field : config.origins) {
      fields.push_back({{"path", field.path}, {"value", field.value}, {"origin", field.origin}});
    }
    *line.output << json{{"hash", fmt::format("{:016x}", config.hash)}, {"fields", fields}}.dump(2) << "\n";
    return 0;
  }
  std::size_t path_width = 0;
  std::size_t value_width = 0;
  for (const FieldOrigin& field : config.origins) {
    path_width = std::max(path_width, field.path.size());
    value_width = std::max(value_width, field.value.size());
  }
  for (const FieldOrigin& field : config.origins) {
    *line.output << fmt::format("{:<{}}  {:<{}}  {}\n", field.path, path_width, field.value, value_width, field.origin);
  }
  *line.output << fmt::format("hash {:016x}\n", config.hash);
  return 0;
}

int check(const CommandLine& line) {
  const std::string file = files(line, 1)[0];
  try {
    const LoadedConfig config = load_run_config(file, line.set, line.world);
    if (line.json) {
      *line.output << json{{"hash", fmt::format("{:016x}", config.hash)}, {"findings", json::array()}}.dump(2) << "\n";
    } else {
      *line.output << fmt::format("{}: no errors, hash {:016x}\n", file, config.hash);
    }
    return 0;
  } catch (const ConfigError& error) {
    if (!line.json) throw;
    json findings = json::array();
    for (const ConfigFinding& finding : error.findings()) {
      findings.push_back(
          {{"source", finding.source}, {"line", finding.line}, {"column", finding.column}, {"text", finding.text}});
    }
    *line.output << json{{"findings", findings}}.dump(2) << "\n";
    return static_cast<int>(ExitCode::kUser);
  }
}

int diff(const CommandLine& line) {
  const std::vector<std::string> both = files(line, 2);
  const LoadedConfig left = load_run_config(both[0], line.set, line.world);
  const LoadedConfig right = load_run_config(both[1], line.set, line.world);
  const std::vector<FieldDifference> differences = differing_fields(*left.run, *right.run);
  if (line.json) {
    json fields = json::array();
    for (const FieldDifference& field : differences) {
      fields.push_back({{"path", field.path}, {"left", field.left}, {"right", field.right}, {"cosmetic", field.is_cosmetic}});
    }
    *line.output << fields.dump(2) << "\n";
    return 0;
  }
  for (const FieldDifference& field : differences) {
    const auto shown = [](const std::string& value) { return value.empty() ? std::string("(absent)") : value; };
    *line.output << fmt::format("{}: {} -> {}{}\n", field.path, shown(field.left), shown(field.right),
                                field.is_cosmetic ? "  (cosmetic)" : "");
  }
  *line.output << fmt::format("{} fields differ; hashes {:016x} and {:016x}\n", differences.size(), left.hash, right.hash);
  return 0;
}

int docs(const CommandLine& line) {
  if (line.arguments.size() > 2) throw UsageError("ballast config docs takes at most one path, such as optim.lr_schedule");
  const std::vector<FieldDoc> fields = field_docs(line.arguments.size() == 2 ? line.arguments[1] : "");
  if (line.json) {
    json array = json::array();
    for (const FieldDoc& field : fields) {
      array.push_back({{"path", field.path}, {"type", field.type}, {"facts", field.facts}, {"comment", field.comment}});
    }
    *line.output << array.dump(2) << "\n";
    return 0;
  }
  for (const FieldDoc& field : fields) *line.output << to_string(field);
  return 0;
}

}  // namespace

int run_config(const CommandLine& line) {
  const std::string what = line.arguments[0];
  if (what == "show") return show(line);
  if (what == "check") return check(line);
  if (what == "diff") return diff(line);
  if (what == "docs") return docs(line);
  throw UsageError(
      fmt::format("ballast config: expected show, check, diff or docs, got \"{}\"; see ballast config --help", what));
}

}  // namespace ballast::launch
