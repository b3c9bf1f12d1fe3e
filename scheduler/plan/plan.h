#pragma once
// The vocabulary of a step: who computes which tokens of which sequence, with whom, in which order. Plain data.
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace ballast::scheduler {

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

using AttentionWork = std::variant<Ring>;

/// A run of sequences whose experts are balanced together. Its scope is global: independent of ranks and policy.
struct MicroBatch {
  std::vector<std::int64_t> sequences;          ///< in data order
  std::vector<AttentionWork> work;              ///< every token of `sequences` exactly once
  std::vector<std::vector<Chunk>> homes;        ///< by rank: the linear layout, in row order
  std::vector<int> kv_source_layer;             ///< by layer: whose keys and values it reads; l itself = its own
  bool operator==(const MicroBatch&) const = default;
};

/// Rows (tokens) that travel from rank src to rank dst. An exchange is a list of these, known to all ranks.
struct Transfer {
  int src = 0;
  int dst = 0;
  std::int64_t num_rows = 0;
  bool operator==(const Transfer&) const = default;
};

struct Forward { int micro_batch = 0; bool operator==(const Forward&) const = default; };
struct Backward { int micro_batch = 0; bool operator==(const Backward&) const = default; };
struct ReduceGradients { bool operator==(const ReduceGradients&) const = default; };
struct UpdateParameters { bool operator==(const UpdateParameters&) const = default; };
struct GatherParameters { bool operator==(const GatherParameters&) const = default; };
using Op = std::variant<Forward, Backward, ReduceGradients, UpdateParameters, GatherParameters>;

/// One operation of a rank; it may start when the instructions `after` (indices into the same program) are finished.
struct Instruction {
  Op op;
  std::vector<int> after;
  bool operator==(const Instruction&) const = default;
};
using RankProgram = std::vector<Instruction>;

struct Plan {
  std::int64_t step = 0;
  std::string policy;
  std::vector<std::int64_t> lengths;            ///< tokens of each sequence of the step
  std::vector<MicroBatch> micro_batches;        ///< the same number on every rank, empty ones included
  std::vector<RankProgram> ranks;
  bool operator==(const Plan&) const = default;
};

}  // namespace ballast::scheduler
