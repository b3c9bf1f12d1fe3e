#pragma once
// A JSONL file as documents.
#include <filesystem>
#include <string_view>

#include "runtime/data/text_documents.h"

namespace ballast::data {

/// Each line is a JSON object whose member `text_key` is the text of one document, named file:line. Lines of white space
/// are skipped; empty texts are counted.
/// Throws: DataError with file:line (and the column of a syntax error) for invalid JSON or UTF-8, a line that is not an
/// object, a missing, repeated or non-string member, or nesting beyond 64 levels; DataError when the file is missing or
/// has no object.
TextDocuments read_json_lines(const std::filesystem::path& file, std::string_view text_key);

}  // namespace ballast::data
