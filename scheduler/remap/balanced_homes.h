#pragma once
// The linear layout with equal tokens on every rank, made from the layout of attention with as little traffic as can be.
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "scheduler/plan/plan.h"
#include "scheduler/topology/topology.h"

namespace ballast::scheduler {

/// Between which ranks tokens are evened out.
enum class Remap { kOff, kNode, kCluster };

/// The value of a name: off, node or cluster. Throws: std::invalid_argument for any other.
Remap remap_from(const std::string& name);

/// Tokens that each rank is to hold: floor or ceil of the mean of its node, or of all ranks; the spare ones go to the ranks with
/// most tokens, ties by rank.
/// Returns: `tokens` itself for kOff; else the same sum, of each node or of all ranks.
std::vector<std::int64_t> balanced_targets(std::span<const std::int64_t> tokens, Remap remap, const Topology& topology);

/// Moves that turn `tokens` into `targets`: as many as can be inside nodes, the rest between nodes, sent and received so that the
/// most loaded card group of each node carries as little as can be.
/// With U and D what the ranks of a node have too much and too little, sum |U - D| / 2 tokens cross nodes, which is the least.
/// Input: one entry for each rank in both; equal sums; nothing negative.
/// Returns: by src, then dst; at most 2 * ranks - 1, all positive.
/// Cost: linear in ranks, plus sorting inside nodes.
/// Deterministic: ties by rank.
/// Throws: std::invalid_argument for sizes or sums that differ.
/// Source: the two layouts are those of arXiv 2509.21841; the solver is our own.
std::vector<Transfer> remap_moves(std::span<const std::int64_t> tokens, std::span<const std::int64_t> targets,
                                  const Topology& topology);

/// The homes after `moves`: each rank gives whole chunks as far as they fit, the largest first, and cuts at most one chunk for
/// each move; what it keeps stays in order, and what it gets follows in the order of the moves.
/// Input: as remap_moves gives them for the tokens of `homes`.
/// Cost: linear in chunks and moves, times the moves of a rank, plus sorting.
/// Throws: std::invalid_argument for a rank that is to give more than it has.
std::vector<std::vector<Chunk>> moved_homes(const std::vector<std::vector<Chunk>>& homes, std::span<const Transfer> moves);

/// The homes with balanced_targets of their tokens.
std::vector<std::vector<Chunk>> balanced_homes(const std::vector<std::vector<Chunk>>& homes, Remap remap,
                                               const Topology& topology);

}  // namespace ballast::scheduler
