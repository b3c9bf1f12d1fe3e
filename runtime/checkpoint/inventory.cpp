#include "runtime/checkpoint/inventory.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <tuple>
#include <utility>

namespace ballast::checkpoint {
namespace {

struct Claim {
  std::int64_t rank;
  std::int64_t offer_idx;
  const OfferedPiece* piece;
};

template <class... Args>
[[noreturn]] void refuse(const std::string& tensor, fmt::format_string<Args...> text, Args&&... args) {
  throw InventoryError(fmt::format("tensor '{}': {}", tensor, fmt::format(text, std::forward<Args>(args)...)));
}

std::string describe(const OfferedPiece& piece) {
  return fmt::format("{} {} [{}]", name(piece.kind), name(piece.type), fmt::join(piece.shape, ", "));
}

/// One tensor from all its claims. Returns: the claim that writes each piece, in element order.
std::vector<Claim> choose_writers(const std::string& tensor, std::vector<Claim> claims) {
  const Claim first = claims.front();
  for (const Claim& claim : claims) {
    const auto what = [](const OfferedPiece& piece) { return std::tie(piece.kind, piece.type, piece.shape); };
    if (what(*claim.piece) != what(*first.piece))
      refuse(tensor, "rank {} has {}, rank {} has {}", first.rank, describe(*first.piece), claim.rank, describe(*claim.piece));
  }
  std::int64_t count = 0;
  try {
    count = num_elements(first.piece->shape, std::numeric_limits<std::int64_t>::max() / size_in_bytes(first.piece->type),
                         fmt::format("tensor '{}'", tensor));
  } catch (const FormatError& error) {
    throw InventoryError(error.what());
  }
  for (const Claim& claim : claims) {
    if (claim.piece->begin < 0 || claim.piece->end < claim.piece->begin || claim.piece->end > count)
      refuse(tensor, "rank {} gives elements [{}, {}) of {}", claim.rank, claim.piece->begin, claim.piece->end, count);
  }

  std::erase_if(claims, [](const Claim& claim) { return claim.piece->begin == claim.piece->end; });
  std::ranges::sort(claims, {}, [](const Claim& claim) { return std::tuple(claim.piece->begin, claim.piece->end, claim.rank); });
  std::vector<Claim> writers;
  std::int64_t expected = 0;
  for (const Claim& claim : claims) {
    if (claim.piece->begin > expected)
      refuse(tensor, "elements [{}, {}) of {} are given by no rank", expected, claim.piece->begin, count);
    if (claim.piece->begin == expected) {
      writers.push_back(claim);
      expected = claim.piece->end;
      continue;
    }
    const Claim& writer = writers.back();
    const bool is_replica = claim.piece->is_replicated && writer.piece->is_replicated && claim.rank != writer.rank &&
                            claim.piece->begin == writer.piece->begin && claim.piece->end == writer.piece->end;
    if (!is_replica)
      refuse(tensor, "elements [{}, {}) are given by rank {} and rank {}; give each once, or declare equal pieces replicated",
             claim.piece->begin, std::min(claim.piece->end, expected), writer.rank, claim.rank);
    if (claim.piece->hash != writer.piece->hash)
      refuse(tensor, "the replicas of elements [{}, {}) differ: rank {} has the hash {}, rank {} has {}", claim.piece->begin,
             claim.piece->end, writer.rank, to_text(writer.piece->hash), claim.rank, to_text(claim.piece->hash));
  }
  if (expected != count) refuse(tensor, "elements [{}, {}) of {} are given by no rank", expected, count, count);
  return writers;
}

}  // namespace

Inventory take_inventory(std::span<const std::vector<OfferedPiece>> offers) {
  std::map<std::string, std::vector<Claim>> claims_of;
  for (std::size_t rank = 0; rank < offers.size(); ++rank) {
    for (std::size_t i = 0; i < offers[rank].size(); ++i) {
      const OfferedPiece& piece = offers[rank][i];
      claims_of[piece.name].push_back({static_cast<std::int64_t>(rank), static_cast<std::int64_t>(i), &piece});
    }
  }
  Inventory inventory;
  inventory.writes.resize(offers.size());
  for (auto& [tensor, claims] : claims_of) {
    const OfferedPiece& first = *claims.front().piece;
    StoredTensor stored{.name = tensor, .kind = first.kind, .type = first.type, .shape = first.shape};
    for (const Claim& writer : choose_writers(tensor, std::move(claims))) {
      inventory.writes[static_cast<std::size_t>(writer.rank)].push_back({writer.offer_idx,
                                                                         static_cast<std::int64_t>(inventory.tensors.size()),
                                                                         static_cast<std::int64_t>(stored.pieces.size())});
      stored.pieces.push_back({.begin = writer.piece->begin, .end = writer.piece->end});
    }
    inventory.tensors.push_back(std::move(stored));
  }
  return inventory;
}

}  // namespace ballast::checkpoint
