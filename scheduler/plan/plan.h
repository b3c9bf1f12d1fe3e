#pragma once
// The vocabulary of a step: who computes which tokens of which sequence, with whom, in which order. Plain data.
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace ballast::scheduler {

/// Most tokens of a step. Pairs of a query and a key that it sees are counted in 64 bits: T tokens have at most T * (T + 1) / 2
/// of them, however they are cut in sequences, and the largest product on the way is T * (T + 1) = 2^62 + 2^31. Products of
/// tokens and ranks (2^20 at most) are far smaller.
inline constexpr std::int64_t kMostTokens = std::int64_t{1} << 31;

/// Tokens [begin, end) of one sequence. `sequence` indexes the step's list of lengths.
struct Chunk {
  std::int64_t sequence = 0;
  std::int64_t begin = 0;
  std::int64_t end = 0;
  bool operator==(const Chunk&) const = default;
};

/// One sequence on a ring: member i holds `shares[i]` tokens, cut zigzag; one rank = local, nothing travels.
struct Ring {
  std::int64_t sequence = 0;
  std::vector<int> ranks;
  std::vector<std::int64_t> shares;
  bool operator==(const Ring&) const = default;
};

/// Query heads [head_begin, head_end) of a sequence on one ring, usually the ranks of one node.
/// With `num_query_blocks` above 1 the queries are cut zigzag in that many blocks and the part computes blocks
/// [query_block_begin, query_block_end) against all keys. `shares` are keys held by each member; the queries of the blocks
/// together are cut zigzag in the same proportion.
struct HeadPart {
  int head_begin = 0;
  int head_end = 0;
  int query_block_begin = 0;
  int query_block_end = 1;
  int num_query_blocks = 1;
  std::vector<int> ranks;
  std::vector<std::int64_t> shares;
  bool operator==(const HeadPart&) const = default;
};

/// One sequence cut by head: its heads travel from the tokens' homes to the parts, and the outputs travel back.
struct HeadRing {
  std::int64_t sequence = 0;
  std::vector<HeadPart> parts;
  bool operator==(const HeadRing&) const = default;
};

/// A pack of sequences whose keys and values every member gathers; member i computes the queries `queries[i]`.
struct AllGather {
  std::vector<std::int64_t> sequences;
  std::vector<int> ranks;
  std::vector<std::vector<Chunk>> queries;
  bool operator==(const AllGather&) const = default;
};

/// A pack of sequences whose tokens are split over the members outside attention, and whose heads are split inside:
/// member i computes `num_heads[i]` query heads of every token.
struct HeadAllToAll {
  std::vector<std::int64_t> sequences;
  std::vector<int> ranks;
  std::vector<int> num_heads;
  std::vector<std::vector<Chunk>> tokens;
  bool operator==(const HeadAllToAll&) const = default;
};

/// Attention of some queries of one sequence, done by `rank` wherever the tokens live: each query sees the keys up to itself.
struct AttentionTask {
  std::int64_t sequence = 0;
  int rank = 0;
  std::vector<Chunk> queries;
  bool operator==(const AttentionTask&) const = default;
};

/// Attention served task by task: queries and missing keys travel from the tokens' homes to the task's rank, outputs back.
struct TaskSet {
  std::vector<AttentionTask> tasks;
  bool operator==(const TaskSet&) const = default;
};

using AttentionWork = std::variant<Ring, HeadRing, AllGather, HeadAllToAll, TaskSet>;

/// A run of sequences whose experts are balanced together. Its scope is global: independent of ranks and policy.
struct MicroBatch {
  std::vector<std::int64_t> sequences;    ///< in data order
  std::vector<AttentionWork> work;        ///< every query of `sequences` exactly once
  std::vector<std::vector<Chunk>> homes;  ///< by rank: the linear layout, in row order; every token exactly once
  std::vector<int> kv_source_layer;       ///< by layer: whose keys and values it reads; l itself = its own (kv_sources.h)
  bool operator==(const MicroBatch&) const = default;
};

/// Rows (tokens) that travel from rank src to rank dst. An exchange is a list of these, known to all ranks.
struct Transfer {
  int src = 0;
  int dst = 0;
  std::int64_t num_rows = 0;
  bool operator==(const Transfer&) const = default;
};

struct Forward {
  int micro_batch = 0;
  bool operator==(const Forward&) const = default;
};
struct Backward {
  int micro_batch = 0;
  bool operator==(const Backward&) const = default;
};
struct ReduceGradients {
  bool operator==(const ReduceGradients&) const = default;
};
struct UpdateParameters {
  bool operator==(const UpdateParameters&) const = default;
};
struct GatherParameters {
  bool operator==(const GatherParameters&) const = default;
};
using Op = std::variant<Forward, Backward, ReduceGradients, UpdateParameters, GatherParameters>;

/// One operation of a rank; it may start when the instructions `after` (indices into the same program) are finished.
struct Instruction {
  Op op;
  std::vector<int> after;
  bool operator==(const Instruction&) const = default;
};
using RankProgram = std::vector<Instruction>;

/// A step. A pure function of (lengths, topology, model shape, options, step): every rank makes the same one.
struct Plan {
  std::int64_t step = 0;
  std::string policy;
  std::vector<std::int64_t> lengths;      ///< tokens of each sequence of the step
  std::vector<MicroBatch> micro_batches;  ///< the same number on every rank, empty ones included
  std::vector<RankProgram> ranks;
  /// Exchanges between nodes are spread over proxies and network cards where that pays.
  bool is_routed = false;
  /// Per sequence: tokens that the policy's published rule would compute, its padding included. Empty: the lengths.
  /// Only cost and simulation read it; nothing is ever padded.
  std::vector<std::int64_t> charged_tokens;
  bool operator==(const Plan&) const = default;
};

}  // namespace ballast::scheduler
