#pragma once
// Saving: all ranks together turn what they hold into one checkpoint, which exists in full or not at all.
#include <cstdint>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/checkpoint/inventory.h"
#include "runtime/checkpoint/manifest.h"
#include "runtime/comm/communicator.h"

namespace ballast::checkpoint {

/// The world did not let us save (disk full, I/O error). Earlier checkpoints are untouched; count it and go on.
class SaveError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
/// Elements [begin, begin + data.count) of the row-major global tensor, held by this rank. Host memory.
/// Over all ranks each element is given once; where several ranks hold the same piece all of them say `is_replicated`,
/// the lowest of them writes it and the others' bytes are compared by hash.
/// An empty piece says that the tensor exists, so that its absence everywhere else is noticed.
struct Piece {
  std::string name{};
  TensorKind kind = TensorKind::kWeight;
  std::vector<std::int64_t> global_shape{};
  std::int64_t begin = 0;
  comm::ConstBuffer data{};
  bool is_replicated = false;
};

struct SaveOptions {
  std::filesystem::path folder{};  ///< the run's checkpoints/, on a file system that all ranks see; made when missing
  int keep = 3;                    ///< newest checkpoints that stay; at least 2
};

/// A published checkpoint, the same on all ranks.
struct Saved {
  std::string name{};  ///< "step-00001200"
  std::int64_t size_bytes = 0;
  std::vector<std::string> notes{};  ///< what went wrong without harm: little space left, the hint `latest` not renewed, ...
};

/// Saves collectively; when it returns the checkpoint is durable. `point` counts on rank 0, its step is compared.
/// Cost: each rank writes and hashes its bytes once; two small gathers.
/// Throws, the same on every rank: SaveError, InventoryError; CommError when a peer is gone.
Saved save(comm::Communicator& world, const SaveOptions& options, const TrainingPoint& point, std::span<const Piece> pieces);

}  // namespace ballast::checkpoint
