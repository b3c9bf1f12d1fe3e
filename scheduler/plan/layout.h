#pragma once
// Where the tokens of a piece of attention work are: exact zigzag chunks, nothing padded.
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "scheduler/plan/plan.h"

namespace ballast::scheduler {

/// Tokens that each of `num_members` ring positions holds when a sequence is cut in 2 * num_members chunks as equal as possible.
/// Returns: floor or ceil of length / num_members, in position order; sums to `length`.
std::vector<std::int64_t> equal_shares(std::int64_t length, int num_members);

/// Splits `total` in proportion to `weights`: floors first, the rest by largest remainder, ties by position.
/// Input: weights >= 0 with a positive sum below 2^31 * 2^31; all zero weights give everything to position 0.
std::vector<std::int64_t> proportional_shares(std::int64_t total, std::span<const std::int64_t> weights);

/// The two chunks of every ring position: the head chunk (larger half of its share, in position order) and the mirrored tail
/// chunk. Token order: head 0, head 1, ..., head G-1, tail G-1, ..., tail 0. Chunks may be empty.
std::vector<std::array<Chunk, 2>> zigzag_chunks(std::int64_t sequence, std::span<const std::int64_t> shares);

/// Adds a chunk to a list in row order: nothing if it is empty, and joined to the last one where they touch.
void append_chunk(std::vector<Chunk>& chunks, const Chunk& chunk);

/// Adds what the members of a ring hold to the homes of their ranks, as the ring has it.
void append_chunks(const Ring& ring, std::vector<std::vector<Chunk>>& homes);

/// Sum over the queries of `chunk` of the keys each of them sees: l * begin + l * (l + 1) / 2.
/// Input: end is at most kMostTokens.
std::int64_t num_pairs(const Chunk& chunk);

/// Tokens of a list of chunks.
std::int64_t num_tokens(std::span<const Chunk> chunks);

/// Chunks of one sequence in ascending order: touching ones joined, empty ones dropped. Cost: sorts them.
std::vector<Chunk> joined(std::vector<Chunk> chunks);

/// Tokens of query block `block` of a sequence cut zigzag in `num_blocks` blocks: its one or two chunks, joined where they touch.
std::vector<Chunk> query_block_chunks(std::int64_t sequence, std::int64_t length, int block, int num_blocks);

/// Tokens that `rank` has to hold for a piece of work: queries it computes, stored keys counting as half a token
/// (key and value are half of the query, key, value and output rows). Rounded up.
/// Cost: linear in the size of the piece.
std::int64_t attention_tokens(const AttentionWork& work, int rank);

/// Adds attention_tokens of every rank to `tokens_by_rank`.
void add_attention_tokens(const AttentionWork& work, std::vector<std::int64_t>& tokens_by_rank);

}  // namespace ballast::scheduler
