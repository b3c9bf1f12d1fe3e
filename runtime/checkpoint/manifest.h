#pragma once
// What a checkpoint says about itself: the moment of training, its files, and where each element of each tensor lies.
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "runtime/checkpoint/content_hash.h"
#include "runtime/checkpoint/safetensors.h"

namespace ballast::checkpoint {

enum class TensorKind { kWeight, kOptimizer, kRouter, kState };
/// "weight", "optimizer", ...
const char* name(TensorKind kind);

/// One small value that is not a tensor; text doubles as bytes.
using StateValue = std::variant<std::int64_t, double, std::string>;

/// The moment of training that a checkpoint holds; equal on all ranks.
struct TrainingPoint {
  std::string run_id{};
  std::int64_t step = 0;
  std::int64_t consumed_samples = 0;
  std::uint64_t config_hash = 0;                                 ///< of the fields that change what is computed
  std::string config_text{};                                     ///< resolved, complete
  std::vector<std::pair<std::string, std::string>> libraries{};  ///< (name, version) that may change results
  std::vector<std::pair<std::string, std::int64_t>> mesh{};      ///< (axis, ranks) that saved
  std::string parent{};                                          ///< checkpoint that the run resumed from, or empty
  std::map<std::string, StateValue> state{};
};

struct StoredFile {
  std::string name{};  ///< plain, inside the checkpoint's folder
  std::int64_t size_bytes = 0;
  ContentHash hash{};
};
/// Elements [begin, end) of the row-major global tensor, at `offset_bytes` of file `file_idx`.
struct StoredPiece {
  std::int64_t file_idx = 0;
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t offset_bytes = 0;
};
struct StoredTensor {
  std::string name{};
  TensorKind kind = TensorKind::kWeight;
  ElementType type = ElementType::kF32;
  std::vector<std::int64_t> shape{};
  std::vector<StoredPiece> pieces{};  ///< in element order, each element of the tensor exactly once

  std::int64_t count() const { return pieces.empty() ? 0 : pieces.back().end; }
};
/// What elements [begin, end) of `count` are called inside their file: the tensor's own name for all of them, else
/// "name[begin:end]".
std::string name_in_file(const std::string& tensor, std::int64_t begin, std::int64_t end, std::int64_t count);

struct Manifest {
  TrainingPoint point{};
  std::vector<StoredFile> files{};
  std::vector<StoredTensor> tensors{};

  /// Returns: nullptr where there is none. Cost: linear.
  const StoredTensor* find(const std::string& tensor_name) const;
  std::int64_t size_bytes() const;
};

/// The bytes of manifest.pb: protobuf and its own hash. Same manifest, same bytes.
std::string serialize(const Manifest& manifest);
/// Reads what serialize() wrote and checks that it is complete: names plain, each element of each tensor in exactly one piece,
/// each piece inside its file.
/// Throws: FormatError; its text begins with `where`.
Manifest parse_manifest(std::span<const std::byte> bytes, const std::string& where);

}  // namespace ballast::checkpoint
