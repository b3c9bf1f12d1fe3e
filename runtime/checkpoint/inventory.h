#pragma once
// Whether the pieces of all ranks make whole tensors, and who writes which.
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/checkpoint/manifest.h"

namespace ballast::checkpoint {

/// The pieces of all ranks are not a whole: an element missing or given twice, ranks that disagree, replicas that differ.
class InventoryError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

/// Elements [begin, end) that one rank holds; empty: the rank only says that the tensor exists.
struct OfferedPiece {
  std::string name{};
  TensorKind kind = TensorKind::kWeight;
  ElementType type = ElementType::kF32;
  std::vector<std::int64_t> shape{};
  std::int64_t begin = 0;
  std::int64_t end = 0;
  bool is_replicated = false;
  ContentHash hash{};  ///< of the bytes of a replicated piece
};

/// One offered piece that its rank writes, and the stored piece that it becomes.
struct AssignedPiece {
  std::int64_t offer_idx = 0;
  std::int64_t tensor_idx = 0;
  std::int64_t piece_idx = 0;
};
struct Inventory {
  std::vector<StoredTensor> tensors{};               ///< by name; pieces lack file and offset
  std::vector<std::vector<AssignedPiece>> writes{};  ///< for each rank
};

/// Takes the inventory of all ranks' offers (`offers[rank]`): each element of each tensor exactly once, or by replicas whose
/// hashes agree, of which the lowest rank writes.
/// Cost: n log n in the number of pieces.
/// Throws: InventoryError naming tensor, elements and ranks.
Inventory take_inventory(std::span<const std::vector<OfferedPiece>> offers);

}  // namespace ballast::checkpoint
