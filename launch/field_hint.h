#pragma once
// Words for a name that does not exist: the nearest ones, and where the name would belong.
#include <string>
#include <string_view>
#include <vector>

namespace google::protobuf {
class Descriptor;
}

namespace ballast::launch {

/// Fewest insertions, deletions, replacements and swaps of neighbours that turn one word into the other, no letter being touched
/// twice.
int edit_distance(std::string_view left, std::string_view right);

/// Up to three of `names` within a distance of max(1, length / 3), nearest first, equal ones in the order given.
std::vector<std::string> nearest_names(std::string_view name, const std::vector<std::string>& names);

/// What to say after `unknown key "name" in Message`: former names, nearest names, messages of the run that have such a field.
/// Returns: "; did you mean \"x\"?; it belongs in \"optim\"", or nothing.
std::string field_hint(std::string_view name, const google::protobuf::Descriptor& message);

}  // namespace ballast::launch
