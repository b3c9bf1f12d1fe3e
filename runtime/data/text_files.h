#pragma once
// A folder of text files as documents.
#include <cstdint>
#include <filesystem>
#include <string_view>

#include "runtime/data/text_documents.h"

namespace ballast::data {

/// Every regular file below `folder` whose relative path matches `glob` is one document; any bytes are legal.
/// Folders that are links are not entered; links to files are followed. Empty files are counted.
/// Returns: documents sorted by the bytes of their relative path, so that every rank has the same order.
/// Throws: DataError when the folder or a match is missing, a file is unreadable or larger than `max_file_bytes`.
TextDocuments read_text_files(const std::filesystem::path& folder, std::string_view glob, std::int64_t max_file_bytes);

}  // namespace ballast::data
