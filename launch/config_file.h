#pragma once
// The one loader of run files, used by every command: files, then the inline messages over them, then --set; checked, resolved.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace ballast::schema {
class RunConfig;
}

namespace ballast::launch {

/// What a run is made of. At least one of the three files is named.
struct ConfigSources {
  std::filesystem::path run_file = {};
  std::filesystem::path model_file = {};    ///< a Model, in place of the run's
  std::filesystem::path cluster_file = {};  ///< a Cluster, in place of the run's
  std::vector<std::string> set = {};        ///< path=value, in order
  std::optional<int> world = {};            ///< number of ranks; without it that of the cluster, if the cluster names its nodes
  bool resizes_cluster = false;  ///< a cluster of another size is cut or grown to `world` (scheduler::resized), not refused
  bool has_own_lengths = false;  ///< sequences come from elsewhere: neither data nor the size of a step is asked for
};

/// Where the value of a field comes from.
struct FieldOrigin {
  std::string path;    ///< "optim.lr_schedule.warmup_steps"
  std::string value;   ///< as in the file
  std::string origin;  ///< "file:line", "--set #n" or "default"
};

/// A run that was checked and resolved: every field holds the value that is used, defaults included.
struct LoadedConfig {
  std::shared_ptr<const schema::RunConfig> run;
  std::string text;                  ///< the resolved run as a run file; loading it gives the same text
  std::vector<FieldOrigin> origins;  ///< every scalar field, in the order of the text
  std::uint64_t hash = 0;            ///< of the fields that are not marked cosmetic
};

/// One thing that is wrong with a run.
struct ConfigFinding {
  std::string source;  ///< file, or "--set #n"
  int line = 0;        ///< from 1; 0 in --set
  int column = 0;      ///< from 1; a tab advances to the next multiple of 8
  std::string text;
  /// "file:line:column: text", "--set #n:column: text".
  std::string to_string() const;
};

/// The run is wrong. The text has one line per finding, sorted by position, then their number and where the fields are explained.
class ConfigError : public std::invalid_argument {
 public:
  explicit ConfigError(std::vector<ConfigFinding> findings);
  const std::vector<ConfigFinding>& findings() const { return findings_; }

 private:
  std::vector<ConfigFinding> findings_;
};

/// Content of a file of at most 1 MiB; of a larger one a byte more than that, which read_config_text refuses.
/// Throws: std::invalid_argument if it cannot be read.
std::string read_config_file(const std::filesystem::path& path);

/// Loads, merges, checks and resolves a run. Without a run file, data, training and the size of a step are not asked for.
/// Input: files of at most 1 MiB, messages at most 32 deep.
/// Throws: ConfigError with all findings; std::invalid_argument if a file cannot be read.
LoadedConfig load_config(const ConfigSources& sources);

/// The usual case of load_config.
LoadedConfig load_run_config(const std::filesystem::path& run_file, std::span<const std::string> set, std::optional<int> world);

/// The same for a run file in memory, for example one that another rank or a checkpoint sent. `name` stands for its path.
LoadedConfig parse_run_config(const std::string& text, const std::string& name, std::optional<int> world);

/// A field whose value differs between two resolved runs; a value that one side lacks is empty.
struct FieldDifference {
  std::string path;
  std::string left;
  std::string right;
  bool is_cosmetic = false;  ///< does not change what is computed, nor the hash
};

/// The differing fields of two resolved runs, in the order of the schema.
std::vector<FieldDifference> differing_fields(const schema::RunConfig& left, const schema::RunConfig& right);

/// The origins as a table: path, value, origin, separated by tabs.
std::string origins_table(const LoadedConfig& config);

}  // namespace ballast::launch
