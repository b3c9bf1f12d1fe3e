#pragma once
// One rank's attention of a micro-batch, ready to be executed by every layer: what it computes, sends and receives, in rows.
#include <cstdint>
#include <span>
#include <vector>

#include "scheduler/plan/expand.h"

namespace ballast::model {

/// Which block comes next when several could.
enum class TaskOrder {
  kStrict,          ///< the plan's order: cluster, node, local
  kWorkConserving,  ///< the first in that order whose keys are here
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

class AttentionProgram {
 public:
  /// Cost: linear in the micro-batch, once.
  AttentionProgram(const scheduler::MicroBatch& micro_batch, scheduler::HeadCounts heads, const std::vector<int>& node_of_rank,
                   int rank, TaskOrder order);
  AttentionProgram(const AttentionProgram&) = delete;
  AttentionProgram& operator=(const AttentionProgram&) = delete;

  int rank() const { return rank_; }
  TaskOrder order() const { return order_; }
  std::int64_t num_rows() const { return num_rows_; }
  scheduler::HeadCounts heads() const { return heads_; }
  const std::vector<WholeDocuments>& whole_documents() const { return whole_documents_; }
  /// The other slices in which this rank takes part.
  const std::vector<SliceMember>& members() const { return members_; }
  /// Index into members() of a slice of this rank.
  int local_index(int slice) const { return local_index_.at(static_cast<std::size_t>(slice)); }
  const scheduler::AttentionSlice& slice(int slice) const { return expansion_.slices()[static_cast<std::size_t>(slice)]; }
  int queue(int slice) const { return expansion_.queue(slice); }
  /// Exchanges and tasks of a pass, whole documents left out.
  const scheduler::RankAttention& pass(scheduler::Pass pass, scheduler::KeyValueUse use) const {
    return passes_[static_cast<std::size_t>(pass)][static_cast<std::size_t>(use)];
  }
  /// Local row of the first token of a chunk that lies inside one home chunk of this rank.
  std::int64_t home_row(const scheduler::Chunk& chunk) const;

 private:
  int rank_;
  TaskOrder order_;
  scheduler::HeadCounts heads_;
  scheduler::AttentionExpansion expansion_;
  std::int64_t num_rows_ = 0;
  std::vector<std::pair<scheduler::Chunk, std::int64_t>> home_;  // chunks with their first rows, by (sequence, begin)
  std::vector<WholeDocuments> whole_documents_;
  std::vector<SliceMember> members_;
  std::vector<int> local_index_;
  scheduler::RankAttention passes_[2][2];
};

/// Row of the first token of `chunk` in a list of chunks laid one after the other. Input: it lies inside one of them.
std::int64_t row_in(std::span<const scheduler::Chunk> chunks, const scheduler::Chunk& chunk);

}  // namespace ballast::model
