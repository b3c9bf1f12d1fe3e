#include "runtime/data/glob.h"

#include <fnmatch.h>

#include <string>
#include <vector>

namespace ballast::data {
namespace {

std::vector<std::string> parts_of(std::string_view path) {
  std::vector<std::string> parts;
  for (;;) {
    const auto slash = path.find('/');
    parts.emplace_back(path.substr(0, slash));
    if (slash == std::string_view::npos) return parts;
    path.remove_prefix(slash + 1);
  }
}

}  // namespace

bool matches_glob(std::string_view pattern, std::string_view path) {
  const auto wanted = parts_of(pattern);
  const auto given = parts_of(path);
  // reached[j]: the pattern parts seen so far match the first j parts of the path.
  std::vector<bool> reached(given.size() + 1, false);
  reached[0] = true;
  for (const auto& want : wanted) {
    std::vector<bool> next(given.size() + 1, false);
    if (want == "**") {
      next[0] = reached[0];
      for (std::size_t j = 0; j < given.size(); ++j) {
        next[j + 1] = reached[j + 1] || (next[j] && !given[j].starts_with('.'));
      }
    } else {
      for (std::size_t j = 0; j < given.size(); ++j) {
        next[j + 1] = reached[j] && fnmatch(want.c_str(), given[j].c_str(), FNM_PERIOD) == 0;
      }
    }
    reached = std::move(next);
  }
  return reached.back();
}

}  // namespace ballast::data
