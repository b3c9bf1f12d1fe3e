#pragma once
// Text inside HTML and SVG.
#include <string>
#include <string_view>

namespace ballast::scheduler {

/// The text with &, <, > and " as entities: good between tags and inside quoted attributes.
std::string escape_html(std::string_view text);

}  // namespace ballast::scheduler
