#include "launch/field_hint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "runtime/train/run_config.pb.h"
#include "scheduler/field_options.pb.h"

namespace ballast::launch {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

/// Paths below `message` of the messages that have a field of that name.
void find_homes(std::string_view name, const Descriptor& message, const std::string& path, std::vector<std::string>& homes) {
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    if (field.name() == name) homes.push_back(path.empty() ? "the top level" : fmt::format("\"{}\"", path));
    if (field.message_type()) {
      find_homes(name, *field.message_type(), path.empty() ? field.name() : fmt::format("{}.{}", path, field.name()), homes);
    }
  }
}

}  // namespace

int edit_distance(std::string_view left, std::string_view right) {
  // distance[i][j]: of the first i letters of left and the first j of right.
  std::vector<std::vector<int>> distance(left.size() + 1, std::vector<int>(right.size() + 1));
  for (std::size_t i = 0; i <= left.size(); ++i) {
    for (std::size_t j = 0; j <= right.size(); ++j) {
      if (i == 0 || j == 0) {
        distance[i][j] = static_cast<int>(i + j);
        continue;
      }
      const int replace = distance[i - 1][j - 1] + (left[i - 1] != right[j - 1]);
      distance[i][j] = std::min({distance[i - 1][j] + 1, distance[i][j - 1] + 1, replace});
      if (i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1]) {
        distance[i][j] = std::min(distance[i][j], distance[i - 2][j - 2] + 1);
      }
    }
  }
  return distance[left.size()][right.size()];
}

std::vector<std::string> nearest_names(std::string_view name, const std::vector<std::string>& names) {
  const int limit = std::max(1, static_cast<int>(name.size()) / 3);
  std::vector<std::pair<int, std::string>> near;
  for (const std::string& candidate : names) {
    const int distance = edit_distance(name, candidate);
    if (distance <= limit) near.emplace_back(distance, candidate);
  }
  std::stable_sort(near.begin(), near.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  near.resize(std::min<std::size_t>(near.size(), 3));
  std::vector<std::string> result;
  for (auto& [distance, candidate] : near) result.push_back(std::move(candidate));
  return result;
}

std::string field_hint(std::string_view name, const Descriptor& message) {
  std::string hint;
  std::vector<std::string> names;
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    names.push_back(field.name());
    if (field.options().GetExtension(schema::renamed_from) == name && !name.empty()) {
      hint += fmt::format("; it is now called \"{}\"", field.name());
    }
  }
  std::vector<std::string> near = nearest_names(name, names);
  for (std::string& candidate : near) candidate = fmt::format("\"{}\"", candidate);
  if (!near.empty()) hint += fmt::format("; did you mean {}?", fmt::join(near, " or "));

  std::vector<std::string> homes;
  find_homes(name, *schema::RunConfig::descriptor(), "", homes);
  if (!homes.empty()) hint += fmt::format("; it belongs in {}", fmt::join(homes, " or "));
  return hint;
}

}  // namespace ballast::launch
