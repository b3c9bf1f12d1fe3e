#pragma once
// Strict reading of protobuf text onto a message, with the position of every field and all findings at once.
#include <compare>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "launch/config_file.h"

namespace google::protobuf {
class FieldDescriptor;
class Message;
}  // namespace google::protobuf

namespace ballast::launch {

/// A place in a source; line and column from 1, line 0 in --set.
struct Position {
  int source = 0;  ///< index into ConfigReading::sources
  int line = 0;
  int column = 0;
  auto operator<=>(const Position&) const = default;
};

/// What is known about a run while it is read: the sources so far, where each field was given, and what is wrong.
/// Fields are named by their path from the run: "cluster.nodes[1].num_ranks".
struct ConfigReading {
  std::vector<std::string> sources;           ///< file, or "--set #n", in the order of reading
  std::map<std::string, Position> positions;  ///< of the name of each field and message that was given
  std::set<std::string> doubtful;             ///< fields with a finding, and messages with an unknown field
  bool is_broken = false;                     ///< a syntax error ended the reading of a file
  int main_source = 0;                        ///< what a finding about a field that nobody gave is reported in

  void add_finding(Position position, std::string text) { findings_.emplace(position, std::move(text)); }
  /// Findings sorted by position.
  std::vector<ConfigFinding> findings() const;

 private:
  std::multimap<Position, std::string> findings_;
};

/// Path of a field of the message at `path`.
std::string field_path(const std::string& path, std::string_view field);

/// Fields that may not be given beside `field`: the others of its oneof, and those that one of them excludes.
std::vector<const google::protobuf::FieldDescriptor*> alternatives_of(const google::protobuf::FieldDescriptor& field);

/// Reads `text` over `message`: scalars replace, messages merge, the first entry of a list replaces the list, and of two
/// alternatives the later source wins. Stricter than protobuf's parser: whole decimal integers, finite numbers, named enum values
/// and true or false; unknown fields, repetitions and extensions are findings. A finding stands at the name of its field.
/// Input: at most 1 MiB of text, messages at most 32 deep.
void read_config_text(std::string_view text, const std::string& source, google::protobuf::Message& message,
                      const std::string& path, ConfigReading& reading);

/// Reads the assignment `path.to[2].field=value`, the `number`th --set of the line, over `message`. The value is as in a file;
/// the quotes of a string may be left out.
void read_config_assignment(std::string_view assignment, int number, google::protobuf::Message& message, ConfigReading& reading);

}  // namespace ballast::launch
