// The files in configs/: each is right as it is, and every mistake of one letter in them is met.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "launch/config_file.h"
#include "launch/config_text.h"
#include "runtime/train/run_config.pb.h"
#include "scheduler/topology/topology_io.h"

namespace ballast::launch {
namespace {

std::string read(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::vector<std::filesystem::path> files_in(const std::string& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(BALLAST_SOURCE_DIR "/configs") / folder)) {
    if (entry.path().extension() == ".textproto") files.push_back(entry.path());
  }
  EXPECT_FALSE(files.empty()) << folder;
  return files;
}

TEST(SampleConfigs, RunsLoadAndResolveToAFixPoint) {
  for (const auto& file : files_in("runs")) {
    const LoadedConfig config = load_run_config(file, {}, {});
    EXPECT_EQ(parse_run_config(config.text, "resolved", {}).text, config.text) << file;
  }
}

TEST(SampleConfigs, ModelsAndClustersLoad) {
  for (const auto& cluster : files_in("clusters")) {
    for (const auto& model : files_in("models")) {
      EXPECT_NO_THROW(load_config({.model_file = model, .cluster_file = cluster})) << model << " " << cluster;
    }
  }
}

TEST(SampleConfigs, ResolvingAClusterDoesNotChangeIt) {
  for (const auto& file : files_in("clusters")) {
    schema::Cluster cluster;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(read(file), &cluster)) << file;
    const LoadedConfig loaded = load_config({.model_file = files_in("models").front(), .cluster_file = file});
    EXPECT_EQ(scheduler::topology_from(loaded.run->cluster()), scheduler::topology_from(cluster)) << file;
  }
}

/// Index of line and column, both from 1, in a text without tabs.
std::size_t offset_of(const std::string& text, const Position& position) {
  std::size_t begin = 0;
  for (int line = 1; line < position.line; ++line) begin = text.find('\n', begin) + 1;
  return begin + static_cast<std::size_t>(position.column) - 1;
}

TEST(SampleConfigs, EveryKeyMisspeltOnceIsFoundWhereItIs) {
  int num_keys = 0;
  const std::pair<const char*, const char*> kinds[] = {{"runs", ""}, {"models", "model"}, {"clusters", "cluster"}};
  for (const auto& [folder, path] : kinds) {
    for (const auto& file : files_in(folder)) {
      const std::string text = read(file);
      schema::RunConfig scratch;
      const auto message_of = [&](schema::RunConfig& run) -> google::protobuf::Message& {
        if (std::string_view(path) == "model") return *run.mutable_model();
        if (std::string_view(path) == "cluster") return *run.mutable_cluster();
        return run;
      };
      ConfigReading reading;
      read_config_text(text, file.string(), message_of(scratch), path, reading);
      ASSERT_TRUE(reading.findings().empty()) << file;
      std::set<Position> places;
      for (const auto& [field, position] : reading.positions) {
        // An entry of a list has the position of its list's name, or of a value.
        if (field.ends_with(']') || !places.insert(position).second) continue;
        const std::string name = field.substr(field.rfind('.') + 1);
        const std::size_t at = offset_of(text, position);
        ASSERT_EQ(text.substr(at, name.size()), name) << file << " " << field;
        std::string wrong = text;
        wrong.insert(at + 1, 1, 'z');

        schema::RunConfig run;
        ConfigReading wrong_reading;
        read_config_text(wrong, file.string(), message_of(run), path, wrong_reading);
        const auto findings = wrong_reading.findings();
        ASSERT_EQ(findings.size(), 1u) << file << " " << field;
        EXPECT_THAT(findings[0].to_string(),
                    testing::AllOf(
                        testing::StartsWith(fmt::format("{}:{}:{}: unknown key", file.string(), position.line, position.column)),
                        testing::HasSubstr(fmt::format("did you mean \"{}\"", name))));
        ++num_keys;
      }
    }
  }
  EXPECT_GT(num_keys, 80);
}

}  // namespace
}  // namespace ballast::launch
