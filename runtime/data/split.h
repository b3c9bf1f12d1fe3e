#pragma once
// Which documents are held out.
#include <cstdint>
#include <span>
#include <vector>

namespace ballast::data {

/// Numbers of documents, ascending on both sides.
struct Split {
  std::vector<std::int64_t> train;
  std::vector<std::int64_t> held_out;
};

/// A document is held out when its hash / 2^64 < held_out_fraction: a property of the document alone, independent of
/// order, other documents and ranks; equal documents are on the same side. A fraction of 0 holds nothing out.
/// Throws: std::invalid_argument when a side that was asked for is empty, or the fraction is not in [0, 1).
Split split_documents(std::span<const std::uint64_t> hashes, double held_out_fraction);

}  // namespace ballast::data
