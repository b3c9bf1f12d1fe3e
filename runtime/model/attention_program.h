#pragma once
// One rank's attention of a micro-batch, ready to be executed by every layer: what it computes, sends and receives, in rows.
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "scheduler/plan/expand.h"
#include "scheduler/plan/late_tokens.h"

namespace ballast::model {

/// Which block comes next when several could.
enum class TaskOrder {
  kStrict,          ///< the plan's order: cluster, node, local
  kWorkConserving,  ///< the first in that order whose keys are here
};

/// Local rows [begin, end).
struct Rows {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t num() const { return end - begin; }
  /// Those of something that has a row for each token. Returns: a view.
  at::Tensor of(const at::Tensor& all) const { return all.narrow(0, begin, num()); }
};

/// Rows of one token group that go through linear work together.
struct RowBlock {
  int index = 0;  ///< among all of the rank; they lie in rows in this order
  scheduler::TokenGroup group = scheduler::TokenGroup::kReady;
  Rows rows;
};

/// Consecutive local rows that hold whole documents which this rank attends to alone: nothing of them travels.
struct WholeDocuments {
  std::int64_t first_row = 0;
  std::vector<std::int64_t> offsets;  ///< document borders counted from first_row; starts with 0
  std::int64_t num_rows() const { return offsets.back(); }
};

/// A rank's part of a slice, as its queries and keys lie in memory: chunk after chunk.
struct SliceMember {
  const scheduler::AttentionSlice* slice = nullptr;
  int member = 0;
  std::int64_t num_queries = 0;
  std::int64_t num_keys = 0;
};

/// What an exchange has to do with the token groups of the rank.
struct ExchangeGroups {
  scheduler::TokenGroups needs = 0;        ///< kDispatch: groups of which it sends something
  scheduler::TokenGroups gets_own = 0;     ///< kReturn: groups that get something from the rank itself, when it starts
  scheduler::TokenGroups gets_others = 0;  ///< kReturn: groups that get something from other ranks
};

/// One pass of a layer, whole documents left out.
struct PassPart {
  scheduler::RankAttention attention;
  std::vector<ExchangeGroups> groups;  ///< by exchange
};

class AttentionProgram {
 public:
  /// Input: a rank that takes part in exchanges cuts its rows in blocks of at most `most_rows_per_block`, so that what comes does
  /// not wait long; 0: it does not.
  /// Cost: linear in the micro-batch, once.
  AttentionProgram(const scheduler::MicroBatch& micro_batch, scheduler::HeadCounts heads, const std::vector<int>& node_of_rank,
                   int rank, TaskOrder order, std::int64_t most_rows_per_block = 0);
  AttentionProgram(const AttentionProgram&) = delete;
  AttentionProgram& operator=(const AttentionProgram&) = delete;

  int rank() const { return rank_; }
  TaskOrder order() const { return order_; }
  scheduler::HeadCounts heads() const { return heads_; }

  std::int64_t num_rows() const { return rows_[1].end; }
  /// The home tokens as they lie in rows: late ones first, then ready ones, each in the order of the homes.
  const std::vector<scheduler::Chunk>& chunks_by_row() const { return chunks_by_row_; }
  Rows rows(scheduler::TokenGroup group) const { return rows_[static_cast<std::size_t>(group)]; }
  /// All rows, as even as can be in each group; of a rank without tokens an empty block of the ready group.
  const std::vector<RowBlock>& blocks() const { return blocks_; }
  /// Whether attention of this rank sends or receives anything.
  bool has_messages() const { return has_messages_; }
  /// Groups that have a block.
  scheduler::TokenGroups groups() const { return groups_; }
  /// Calls fn(first row, first token counted from the chunk's, number of tokens) for the runs of rows that hold a chunk, in order
  /// of tokens. Input: a chunk inside one home chunk of this rank.
  template <class Fn>
  void for_each_run(const scheduler::Chunk& chunk, const Fn& fn) const {
    std::int64_t token = chunk.begin;
    for (std::size_t i = piece_of(chunk); token < chunk.end; ++i) {
      const Piece& piece = pieces_[i];
      const std::int64_t end = std::min(chunk.end, piece.chunk.end);
      fn(piece.first_row + token - piece.chunk.begin, token - chunk.begin, end - token);
      token = end;
    }
  }

  const std::vector<WholeDocuments>& whole_documents() const { return whole_documents_; }
  /// The other slices in which this rank takes part.
  const std::vector<SliceMember>& members() const { return members_; }
  /// Index into members() of a slice of this rank.
  int local_index(int slice) const { return local_index_.at(static_cast<std::size_t>(slice)); }
  const scheduler::AttentionSlice& slice(int slice) const { return expansion_.slices()[static_cast<std::size_t>(slice)]; }
  int queue(int slice) const { return expansion_.queue(slice); }
  int num_queues() const { return expansion_.num_queues(); }
  bool is_cluster_queue(int queue) const { return expansion_.is_cluster_queue(queue); }
  const PassPart& pass(scheduler::Pass pass, scheduler::KeyValueUse use) const {
    return passes_[static_cast<std::size_t>(pass)][static_cast<std::size_t>(use)];
  }

 private:
  /// Home tokens that are neighbours in the sequence and in rows.
  struct Piece {
    scheduler::Chunk chunk;
    std::int64_t first_row = 0;
  };
  void lay_out_rows(const std::vector<scheduler::Chunk>& home, const scheduler::LateTokens& late);
  void cut_rows(std::int64_t most_rows_per_block);
  /// Index into pieces_ of the one that holds the first token of a chunk. Throws: c10::Error when the chunk's home is elsewhere.
  std::size_t piece_of(const scheduler::Chunk& chunk) const;

  int rank_;
  TaskOrder order_;
  scheduler::HeadCounts heads_;
  scheduler::AttentionExpansion expansion_;
  std::array<Rows, scheduler::kNumTokenGroups> rows_;
  std::vector<RowBlock> blocks_;
  bool has_messages_ = false;
  scheduler::TokenGroups groups_ = 0;
  std::vector<scheduler::Chunk> chunks_by_row_;
  std::vector<Piece> pieces_;  ///< by (sequence, begin)
  std::vector<WholeDocuments> whole_documents_;
  std::vector<SliceMember> members_;
  std::vector<int> local_index_;
  PassPart passes_[2][2];
};

/// Row of the first token of `chunk` in a list of chunks laid one after the other. Input: it lies inside one of them.
std::int64_t row_in(std::span<const scheduler::Chunk> chunks, const scheduler::Chunk& chunk);

}  // namespace ballast::model
