#include "runtime/model/attention_program.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <iterator>
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
using scheduler::Stage;
using scheduler::TokenGroup;

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

/// Calls fn(part, is late) for the parts of a chunk that are all late or all ready.
template <class Fn>
void for_each_part(const Chunk& chunk, const scheduler::LateTokens& late, const Fn& fn) {
  std::int64_t begin = chunk.begin;
  auto range = std::ranges::upper_bound(late.ranges(), std::tuple(chunk.sequence, begin), {},
                                        [](const Chunk& one) { return std::tuple(one.sequence, one.end); });
  for (; range != late.ranges().end() && range->sequence == chunk.sequence && range->begin < chunk.end; ++range) {
    if (range->begin > begin) fn(Chunk{chunk.sequence, begin, range->begin}, false);
    const Chunk part{chunk.sequence, std::max(begin, range->begin), std::min(chunk.end, range->end)};
    fn(part, true);
    begin = part.end;
  }
  if (begin < chunk.end) fn(Chunk{chunk.sequence, begin, chunk.end}, false);
}

ExchangeGroups groups_of(const AttentionExchange& exchange, const scheduler::LateTokens& late) {
  ExchangeGroups groups;
  if (exchange.stage == Stage::kDispatch) {
    for (const scheduler::Parcel& parcel : exchange.sends) groups.needs |= late.groups(parcel.chunk);
  } else if (exchange.stage == Stage::kReturn) {
    for (const scheduler::Parcel& parcel : exchange.receives) {
      (parcel.src == parcel.dst ? groups.gets_own : groups.gets_others) |= late.groups(parcel.chunk);
    }
  }
  return groups;
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
                                   const std::vector<int>& node_of_rank, int rank, TaskOrder order,
                                   std::int64_t most_rows_per_block)
    : rank_(rank), order_(order), heads_(heads), expansion_(micro_batch, heads, node_of_rank, rank) {
  const std::vector<Chunk>& home = micro_batch.homes.at(static_cast<std::size_t>(rank));
  // Who computes what depends neither on the pass nor on whose keys are read.
  const scheduler::LateTokens late(expansion_.rank(rank, Pass::kForward, KeyValueUse::kForeign));
  lay_out_rows(home, late);

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
  std::int64_t row = 0;
  for (const Chunk& chunk : chunks_by_row_) {  // all of a whole document is ready, so its rows are together
    const bool is_document = chunk.begin == 0 && whole.contains({chunk.sequence, chunk.end});
    if (is_document) {
      if (!extends_run) whole_documents_.push_back({row, {0}});
      std::vector<std::int64_t>& offsets = whole_documents_.back().offsets;
      offsets.push_back(offsets.back() + chunk.end);
    }
    extends_run = is_document;
    row += chunk.end - chunk.begin;
  }

  for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
    for (const KeyValueUse use : {KeyValueUse::kOwn, KeyValueUse::kForeign}) {
      PassPart& part = passes_[static_cast<std::size_t>(pass)][static_cast<std::size_t>(use)];
      part.attention = expansion_.rank(rank, pass, use);
      leave_out(part.attention, is_whole);
      for (const AttentionExchange& exchange : part.attention.exchanges) part.groups.push_back(groups_of(exchange, late));
    }
  }
  cut_rows(most_rows_per_block);
}

void AttentionProgram::cut_rows(std::int64_t most_rows_per_block) {
  const auto travels = [](const scheduler::Parcel& parcel) { return parcel.src != parcel.dst; };
  has_messages_ =
      std::ranges::any_of(pass(Pass::kForward, KeyValueUse::kOwn).attention.exchanges, [&](const AttentionExchange& exchange) {
        return std::ranges::any_of(exchange.sends, travels) || std::ranges::any_of(exchange.receives, travels);
      });
  const bool is_cut = most_rows_per_block > 0 && has_messages_;
  for (const TokenGroup group : {TokenGroup::kLate, TokenGroup::kReady}) {
    const Rows rows = this->rows(group);
    if (rows.num() == 0 && (group == TokenGroup::kLate || num_rows() > 0)) continue;
    const std::int64_t num_blocks =
        is_cut ? std::max<std::int64_t>(1, (rows.num() + most_rows_per_block - 1) / most_rows_per_block) : 1;
    for (std::int64_t i = 0; i < num_blocks; ++i) {
      const auto border = [&](std::int64_t k) { return rows.begin + rows.num() * k / num_blocks; };
      blocks_.push_back({static_cast<int>(blocks_.size()), group, {border(i), border(i + 1)}});
    }
    groups_ |= bit(group);
  }
}

void AttentionProgram::lay_out_rows(const std::vector<Chunk>& home, const scheduler::LateTokens& late) {
  for (const TokenGroup group : {TokenGroup::kLate, TokenGroup::kReady}) {
    Rows& rows = rows_[static_cast<std::size_t>(group)];
    rows.begin = rows.end = group == TokenGroup::kLate ? 0 : rows_[0].end;
    for (const Chunk& chunk : home) {
      for_each_part(chunk, late, [&](const Chunk& part, bool is_late) {
        if (is_late != (group == TokenGroup::kLate)) return;
        chunks_by_row_.push_back(part);
        pieces_.push_back({part, rows.end});
        rows.end += part.end - part.begin;
      });
    }
  }
  std::ranges::sort(pieces_, {}, [](const Piece& piece) { return std::tuple(piece.chunk.sequence, piece.chunk.begin); });
}

std::size_t AttentionProgram::piece_of(const Chunk& chunk) const {
  const auto after = std::ranges::upper_bound(pieces_, std::tuple(chunk.sequence, chunk.begin), {}, [](const Piece& piece) {
    return std::tuple(piece.chunk.sequence, piece.chunk.begin);
  });
  const auto fail = [&] {
    TORCH_CHECK(false, "rank ", rank_, " is not the home of tokens [", chunk.begin, ", ", chunk.end, ") of sequence ",
                chunk.sequence);
  };
  if (after == pieces_.begin()) fail();
  // The pieces that hold it follow each other.
  std::int64_t end = chunk.begin;
  for (auto piece = std::prev(after); piece != pieces_.end() && end < chunk.end; ++piece) {
    if (piece->chunk.sequence != chunk.sequence || piece->chunk.begin > end || piece->chunk.end <= end) break;
    end = piece->chunk.end;
  }
  if (end < chunk.end) fail();
  return static_cast<std::size_t>(std::prev(after) - pieces_.begin());
}

}  // namespace ballast::model
