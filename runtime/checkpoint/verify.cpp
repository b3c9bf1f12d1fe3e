#include "runtime/checkpoint/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <map>

#include "runtime/checkpoint/durable_file.h"

namespace ballast::checkpoint {
namespace {

constexpr std::string_view kPrefix = "step-";
constexpr std::int64_t kMaxManifestBytes = std::int64_t{1} << 30;

/// Whether the file itself is wrong, rather than the moment at which it was read.
bool is_about_content(const FileError& error) {
  return error.code() == ENOENT || error.code() == ENOTDIR || error.code() == EISDIR || error.code() == ELOOP ||
         error.code() == ENODATA;
}

/// Runs `read`; what is wrong with the file itself becomes a FormatError.
template <class Read>
auto reading(Read read) {
  try {
    return read();
  } catch (const FileError& error) {
    if (is_about_content(error)) throw FormatError(error.what());
    throw;
  }
}

void check_entries(const std::filesystem::path& path, const SafetensorsHeader& header, const Manifest& manifest,
                   std::size_t file_idx) {
  struct Expected {
    const StoredTensor* tensor;
    const StoredPiece* piece;
  };
  std::map<std::int64_t, Expected> expected;
  for (const StoredTensor& tensor : manifest.tensors) {
    for (const StoredPiece& piece : tensor.pieces) {
      if (static_cast<std::size_t>(piece.file_idx) != file_idx) continue;
      if (!expected.emplace(piece.offset_bytes, Expected{&tensor, &piece}).second)
        throw FormatError(fmt::format("{}: the manifest lists two pieces at byte {}", path.string(), piece.offset_bytes));
    }
  }
  for (const SafetensorsEntry& entry : header.entries) {
    const auto found = expected.find(entry.begin_bytes);
    const auto is_listed = [&] {
      if (found == expected.end()) return false;
      const auto& [tensor, piece] = found->second;
      return tensor->type == entry.type &&
             entry.end_bytes - entry.begin_bytes == (piece->end - piece->begin) * size_in_bytes(entry.type) &&
             entry.name == name_in_file(tensor->name, piece->begin, piece->end, tensor->count());
    };
    if (!is_listed())
      throw FormatError(fmt::format("{}: tensor '{}' at byte {} is not what the manifest lists there", path.string(), entry.name,
                                    entry.begin_bytes));
    expected.erase(found);
  }
  if (!expected.empty())
    throw FormatError(fmt::format("{}: the manifest lists a piece of '{}' at byte {} that the file does not have", path.string(),
                                  expected.begin()->second.tensor->name, expected.begin()->first));
}

}  // namespace

std::string checkpoint_name(std::int64_t step) { return fmt::format("{}{:08d}", kPrefix, step); }

std::int64_t checkpoint_step(const std::string& name) {
  if (!name.starts_with(kPrefix)) return -1;
  std::int64_t step = -1;
  const char* end = name.data() + name.size();
  const auto result = std::from_chars(name.data() + kPrefix.size(), end, step);
  return result.ptr == end && result.ec == std::errc() && step >= 0 && name == checkpoint_name(step) ? step : -1;
}

std::vector<Candidate> list_checkpoints(const std::filesystem::path& checkpoints) {
  std::vector<Candidate> found;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(checkpoints, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    std::error_code gone;
    const std::int64_t step = checkpoint_step(name);
    if (step >= 0 && entry->symlink_status(gone).type() == std::filesystem::file_type::directory) found.push_back({name, step});
  }
  if (error && error != std::errc::no_such_file_or_directory) throw FileError(checkpoints, "list", error.value());
  std::ranges::sort(found, std::ranges::greater{}, &Candidate::step);
  return found;
}

std::string read_manifest_bytes(const std::filesystem::path& checkpoint) {
  return reading([&] {
    const InputFile file(checkpoint / "manifest.pb");
    if (file.size_bytes() > kMaxManifestBytes)
      throw FormatError(fmt::format("{}: {} bytes are too many for a manifest", file.path().string(), file.size_bytes()));
    std::string bytes(static_cast<std::size_t>(file.size_bytes()), '\0');
    file.read(0, std::as_writable_bytes(std::span(bytes)));
    return bytes;
  });
}

void verify_file(const std::filesystem::path& checkpoint, const Manifest& manifest, std::size_t file_idx) {
  const StoredFile& expected = manifest.files.at(file_idx);
  reading([&] {
    const InputFile file(checkpoint / expected.name);
    if (file.size_bytes() != expected.size_bytes)
      throw FormatError(
          fmt::format("{}: {} bytes found, the manifest says {}", file.path().string(), file.size_bytes(), expected.size_bytes));
    if (const ContentHash hash = file.hash(); hash != expected.hash)
      throw FormatError(fmt::format("{}: its content has the hash {}, the manifest says {}", file.path().string(), to_text(hash),
                                    to_text(expected.hash)));
    check_entries(file.path(), read_safetensors_header(file), manifest, file_idx);
  });
}

}  // namespace ballast::checkpoint
