#pragma once
// Loading: the newest checkpoint that is whole, for any ranks from what any ranks saved.
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/checkpoint/manifest.h"
#include "runtime/comm/communicator.h"

namespace ballast::checkpoint {

/// No checkpoint can be used, or its files cannot be read now. Exit code 5.
class LoadError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Elements [begin, begin + data.count) of the row-major global tensor, wanted by this rank. Host memory.
struct Wanted {
  std::string name{};
  std::int64_t begin = 0;
  comm::Buffer data{};
};

/// A checkpoint whose every byte has been verified; the same on all ranks.
class Checkpoint {
 public:
  Checkpoint(std::filesystem::path folder, Manifest manifest) : folder_(std::move(folder)), manifest_(std::move(manifest)) {}
  const std::filesystem::path& folder() const { return folder_; }
  const Manifest& manifest() const { return manifest_; }

  /// Fills every rank's buffers, collectively. Where `complete` names a kind, each element of each stored tensor of that kind
  /// must be wanted by some rank: nothing saved is dropped in silence.
  /// Cost: reads only the bytes that are wanted.
  /// Throws, the same on every rank: std::invalid_argument (no such tensor, another dtype, a range outside, an element that
  /// nobody wants), LoadError (a file cannot be read).
  void read(comm::Communicator& world, std::span<const Wanted> wanted, std::span<const TensorKind> complete = {}) const;

 private:
  std::filesystem::path folder_;
  Manifest manifest_;
};

struct Found {
  std::optional<Checkpoint> checkpoint{};  ///< empty: nothing was ever saved here
  std::vector<std::string> report{};       ///< one line for the choice and for each newer one that was refused, with the reason
};

/// Finds the newest checkpoint of a run that is whole, collectively: sizes, hashes, formats and inventory are verified, the files
/// spread over the ranks. One with bad content is moved to quarantine/ with a reason.txt, and the next older one is tried.
/// Cost: reads the chosen checkpoint once.
/// Throws, the same on every rank: LoadError when there were checkpoints and none is whole, or when one cannot be read for a
/// passing reason (never quarantined for that).
Found find_newest(comm::Communicator& world, const std::filesystem::path& checkpoints);

/// Opens exactly this checkpoint, verified, collectively; nothing is moved.
/// Throws, the same on every rank: LoadError.
Checkpoint open_checkpoint(comm::Communicator& world, const std::filesystem::path& folder);

}  // namespace ballast::checkpoint
