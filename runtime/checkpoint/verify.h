#pragma once
// What lies in a checkpoints/ folder, and whether it is whole. One process, no communicator.
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "runtime/checkpoint/manifest.h"

namespace ballast::checkpoint {

/// "step-00001200".
std::string checkpoint_name(std::int64_t step);
/// Returns: the step of exactly such a name, -1 for any other name.
std::int64_t checkpoint_step(const std::string& name);

struct Candidate {
  std::string name;
  std::int64_t step = 0;
};
/// All folders with a checkpoint's name, newest step first; temporary, quarantined and other entries are not looked at.
/// Returns: nothing when `checkpoints` does not exist. Throws: FileError when it cannot be listed.
std::vector<Candidate> list_checkpoints(const std::filesystem::path& checkpoints);

/// Throws: FormatError when the content is bad (missing included), FileError when it cannot be read now.
std::string read_manifest_bytes(const std::filesystem::path& checkpoint);
/// One file against the manifest: size, hash, format, and that it holds the listed pieces and nothing else.
/// Cost: reads the file once. Throws: FormatError when the content is bad (missing included), FileError when it cannot be read
/// now.
void verify_file(const std::filesystem::path& checkpoint, const Manifest& manifest, std::size_t file_idx);

}  // namespace ballast::checkpoint
