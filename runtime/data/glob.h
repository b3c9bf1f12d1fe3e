#pragma once
// Patterns on relative paths.
#include <string_view>

namespace ballast::data {

/// True when `path` (relative, parts separated by /) matches `pattern`.
/// Inside a part * ? and [..] work as in the shell and do not match a leading dot; a part ** stands for any number of
/// folders, none included, except those with a leading dot.
/// Cost: product of the numbers of parts.
bool matches_glob(std::string_view pattern, std::string_view path);

}  // namespace ballast::data
