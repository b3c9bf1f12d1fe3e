#include "runtime/model/attention_program.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <set>
#include <tuple>

#include "scheduler/plan/layout.h"

namespace ballast::model {
namespace {

using scheduler::AttentionExchange;
using scheduler::AttentionSlice;
using scheduler::Chunk;
using scheduler::KeyValueUse;
using scheduler::Pass;
using scheduler::RankAttention;

/// Drops what belongs to slices in `left_out`.
void leave_out(RankAttention& attention, const std::vector<char>& left_out) {
  const auto is_out = [&](const auto& part) { return left_out[static_cast<std::size_t>(part.slice)] != 0; };
  std::erase_if(attention.tasks, is_out);
  for (AttentionExchange& exchange : attention.exchanges) {
    std::erase_if(exchange.sends, is_out);
    std::erase_if(exchange.receives, is_out);
  }
  std::erase_if(attention.exchanges, [](const AttentionExchange& e) { return e.sends.empty() && e.receives.empty(); });
}

}  // namespace

std::int64_t row_in(std::span<const Chunk> chunks, const Chunk& chunk) {
  std::int64_t row = 0;
  for (const Chunk& one : chunks) {
    if (one.begin <= chunk.begin && chunk.end <= one.end) return row + chunk.begin - one.begin;
    row += one.end - one.begin;
  }
  TORCH_CHECK(false, "tokens [", chunk.begin, ", ", chunk.end, ") of sequence ", chunk.sequence, " are not in one chunk here");
}

AttentionProgram::AttentionProgram(const scheduler::MicroBatch& micro_batch, scheduler::HeadCounts heads,
                                   const std::vector<int>& node_of_rank, int rank, TaskOrder order)
    : rank_(rank), order_(order), heads_(heads), expansion_(micro_batch, heads, node_of_rank) {
  const std::vector<Chunk>& home = micro_batch.homes.at(static_cast<std::size_t>(rank));
  for (const Chunk& chunk : home) {
    home_.emplace_back(chunk, num_rows_);
    num_rows_ += chunk.end - chunk.begin;
  }

  // Slices of all heads whose queries are exactly one home chunk, from token 0: nothing of them travels.
  const std::vector<AttentionSlice>& slices = expansion_.slices();
  std::vector<char> is_whole(slices.size());
  local_index_.assign(slices.size(), -1);
  std::set<std::tuple<std::int64_t, std::int64_t>> whole;  // (sequence, tokens)
  for (std::size_t i = 0; i < slices.size(); ++i) {
    const AttentionSlice& slice = slices[i];
    for (std::size_t member = 0; member < slice.ranks.size(); ++member) {
      if (slice.ranks[member] != rank) continue;
      const std::vector<Chunk>& queries = slice.queries[member];
      is_whole[i] = slice.ranks.size() == 1 && slice.head_begin == 0 && slice.head_end == heads.query && queries.size() == 1 &&
                    queries[0].begin == 0 && queries == slice.keys[member] && std::ranges::count(home, queries[0]) == 1;
      if (is_whole[i]) {
        whole.emplace(slice.sequence, queries[0].end);
      } else {
        local_index_[i] = static_cast<int>(members_.size());
        members_.push_back(
            {&slice, static_cast<int>(member), scheduler::num_tokens(queries), scheduler::num_tokens(slice.keys[member])});
      }
      break;
    }
  }
  bool extends_run = false;
  for (const auto& [chunk, row] : home_) {
    const bool is_document = chunk.begin == 0 && whole.contains({chunk.sequence, chunk.end});
    if (is_document) {
      if (!extends_run) whole_documents_.push_back({row, {0}});
      std::vector<std::int64_t>& offsets = whole_documents_.back().offsets;
      offsets.push_back(offsets.back() + chunk.end);
    }
    extends_run = is_document;
  }

  for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
    for (const KeyValueUse use : {KeyValueUse::kOwn, KeyValueUse::kForeign}) {
      RankAttention& attention = passes_[static_cast<std::size_t>(pass)][static_cast<std::size_t>(use)];
      attention = expansion_.rank(rank, pass, use);
      leave_out(attention, is_whole);
    }
  }
  std::ranges::sort(home_, {}, [](const auto& entry) { return std::tuple(entry.first.sequence, entry.first.begin); });
}

std::int64_t AttentionProgram::home_row(const Chunk& chunk) const {
  const auto after = std::ranges::upper_bound(home_, std::tuple(chunk.sequence, chunk.begin), {}, [](const auto& entry) {
    return std::tuple(entry.first.sequence, entry.first.begin);
  });
  TORCH_CHECK(
      after != home_.begin() && std::prev(after)->first.sequence == chunk.sequence && chunk.end <= std::prev(after)->first.end,
      "rank ", rank_, " is not the home of tokens [", chunk.begin, ", ", chunk.end, ") of sequence ", chunk.sequence);
  return std::prev(after)->second + chunk.begin - std::prev(after)->first.begin;
}

}  // namespace ballast::model
