#include "tests/scheduler/plan/symbolic_attention.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace ballast::scheduler {

namespace {

std::string text_of(const Parcel& parcel) {
  return fmt::format("payload {} of slice {} member {} tokens [{}, {}) from rank {} to rank {}", static_cast<int>(parcel.payload),
                     parcel.slice, parcel.member, parcel.chunk.begin, parcel.chunk.end, parcel.src, parcel.dst);
}

template <typename... Args>
void require_that(bool holds, fmt::format_string<Args...> text, Args&&... args) {
  if (!holds) throw SymbolicError(fmt::format(text, std::forward<Args>(args)...));
}

bool is_inside(const Chunk& chunk, const std::vector<Chunk>& chunks) {
  return std::any_of(chunks.begin(), chunks.end(), [&](const Chunk& one) {
    return one.sequence == chunk.sequence && one.begin <= chunk.begin && chunk.end <= one.end;
  });
}

}  // namespace

std::int64_t received_rows(const RankAttention& attention, Stage stage) {
  std::int64_t rows = 0;
  for (const AttentionExchange& exchange : attention.exchanges) {
    if (exchange.stage != stage) continue;
    for (const Parcel& parcel : exchange.receives) rows += parcel.src == parcel.dst ? 0 : parcel.num_rows;
  }
  return rows;
}

SymbolicAttention::SymbolicAttention(const MicroBatch& micro_batch, HeadCounts heads, const AttentionExpansion& expansion)
    : micro_batch_(micro_batch), heads_(heads), expansion_(expansion), ranks_(micro_batch.homes.size()) {
  for (const std::vector<Chunk>& home : micro_batch.homes) {
    for (const Chunk& chunk : home) lengths_[chunk.sequence] = std::max(lengths_[chunk.sequence], chunk.end);
  }
}

void SymbolicAttention::forward(KeyValueUse use) {
  home_query_sums_.clear();
  for (RankState& state : ranks_) {
    state.held_queries.clear();
    state.query_sums.clear();
    if (use == KeyValueUse::kOwn) {
      state.held_keys.clear();
      state.key_sums.clear();
    }
  }
  if (use == KeyValueUse::kOwn) num_backward_passes_ = 0;
  run(Pass::kForward, use);
  check_home_sums(home_query_sums_, true, 1);
}

void SymbolicAttention::backward(KeyValueUse use) {
  home_query_sums_.clear();
  home_key_sums_.clear();
  for (RankState& state : ranks_) {
    state.held_output_gradients.clear();
    state.query_sums.clear();
  }
  ++num_backward_passes_;
  run(Pass::kBackward, use);
  check_home_sums(home_query_sums_, true, 1);
  if (use == KeyValueUse::kOwn) check_home_sums(home_key_sums_, false, num_backward_passes_);
  // What a pass leaves behind belongs to its owner: sums on their way have all arrived.
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    for (const auto& [place, sums] : ranks_[r].key_sums) {
      require_that(slice(place.first).ranks[static_cast<std::size_t>(place.second)] == static_cast<int>(r),
                   "rank {} still has sums of slice {} member {}", r, place.first, place.second);
    }
  }
}

/// Both ends list the same parcels, sorted as promised; one order of exchanges fits all ranks.
void SymbolicAttention::check_lists(Pass pass, KeyValueUse use) const {
  std::map<std::tuple<Event, int, int>, std::vector<Parcel>> sent, received;
  std::map<Event, std::set<Event>> after;
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    const RankAttention& attention = ranks_[r].attention;
    require_that(attention == expansion_.rank(static_cast<int>(r), pass, use), "rank {} differs from call to call", r);
    const AttentionExchange* before = nullptr;
    for (const AttentionExchange& exchange : attention.exchanges) {
      const Event event{exchange.stage, exchange.queue, exchange.round};
      require_that(!exchange.sends.empty() || !exchange.receives.empty(), "rank {} has an exchange without parcels", r);
      after[event];
      if (before != nullptr) after[{before->stage, before->queue, before->round}].insert(event);
      before = &exchange;
      const auto check = [&](const std::vector<Parcel>& parcels, bool is_send, auto& lists) {
        for (std::size_t i = 0; i < parcels.size(); ++i) {
          const Parcel& parcel = parcels[i];
          const AttentionSlice& of = slice(parcel.slice);
          const auto key = [&](const Parcel& p) {
            return std::tuple(is_send ? p.dst : p.src, p.slice, p.payload, p.member, p.chunk.begin);
          };
          require_that(i == 0 || key(parcels[i - 1]) < key(parcel), "out of order or twice: {}", text_of(parcel));
          require_that((is_send ? parcel.src : parcel.dst) == static_cast<int>(r), "in the list of rank {}: {}", r,
                       text_of(parcel));
          const bool is_of_keys = parcel.payload == Payload::kKeyValue || parcel.payload == Payload::kKeyValueGradient;
          const std::size_t member = static_cast<std::size_t>(parcel.member);
          require_that(
              is_inside(parcel.chunk, is_of_keys ? of.keys[member] : of.queries[member]) && parcel.chunk.begin < parcel.chunk.end,
              "not contiguous at its member: {}", text_of(parcel));
          const int num_heads =
              is_of_keys ? 2 * (key_head_end(of, heads_) - key_head_begin(of, heads_)) : of.head_end - of.head_begin;
          require_that(parcel.num_rows == (parcel.chunk.end - parcel.chunk.begin) * num_heads, "{} rows in {}", parcel.num_rows,
                       text_of(parcel));
          require_that(exchange.queue == expansion_.queue(parcel.slice), "in queue {}: {}", exchange.queue, text_of(parcel));
          lists[{event, parcel.src, parcel.dst}].push_back(parcel);
        }
      };
      check(exchange.sends, true, sent);
      check(exchange.receives, false, received);
    }
  }
  require_that(sent == received, "sends and receives differ");
  while (!after.empty()) {  // exchanges before which nothing is left, one after the other
    std::set<Event> blocked;
    for (const auto& [event, later] : after) blocked.insert(later.begin(), later.end());
    const auto free = std::find_if(after.begin(), after.end(), [&](const auto& entry) { return !blocked.contains(entry.first); });
    require_that(free != after.end(), "two ranks have exchanges in different orders");
    after.erase(free);
  }
}

bool SymbolicAttention::is_over(const RankState& state, Event event) const {
  const auto missing = state.num_missing.find(event);
  return missing == state.num_missing.end() || (missing->second == 0 && state.has_started.at(event) != 0);
}

bool SymbolicAttention::are_tasks_done(const RankState& state, int queue, int last_round) const {
  for (std::size_t i = state.num_tasks_done; i < state.attention.tasks.size(); ++i) {
    const BlockTask& task = state.attention.tasks[i];
    if (task.queue == queue && task.round <= last_round) return false;
  }
  return true;
}

bool SymbolicAttention::may_start(const RankState& state, const AttentionExchange& exchange) const {
  const int queue = exchange.queue;
  const int before = exchange.round - 1;
  switch (exchange.stage) {
    case Stage::kDispatch:
      return true;
    case Stage::kRotate:
      return before == 0 ? !is_forward_ || is_over(state, {Stage::kDispatch, queue, 0})
                         : is_over(state, {Stage::kRotate, queue, before});
    case Stage::kRotateGradients:
      return are_tasks_done(state, queue, before) && is_over(state, {Stage::kRotateGradients, queue, before});
    case Stage::kReturn:
      if (!are_tasks_done(state, queue, 1 << 20)) return false;
      return std::all_of(state.num_missing.begin(), state.num_missing.end(), [&](const auto& entry) {
        const auto& [stage, of_queue, round] = entry.first;
        return stage != Stage::kRotateGradients || of_queue != queue || is_over(state, entry.first);
      });
  }
  return false;
}

bool SymbolicAttention::may_run(const RankState& state, const BlockTask& task) const {
  return is_over(state, {Stage::kDispatch, task.queue, 0}) &&
         (task.round == 0 || is_over(state, {Stage::kRotate, task.queue, task.round}));
}

void SymbolicAttention::run(Pass pass, KeyValueUse use) {
  is_forward_ = pass == Pass::kForward;
  mail_.clear();
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    RankState& state = ranks_[r];
    std::erase_if(state.held_keys, [&](const auto& entry) {  // blocks of other members are not kept
      return slice(entry.first.first).ranks[static_cast<std::size_t>(entry.first.second)] != static_cast<int>(r);
    });
    state.attention = expansion_.rank(static_cast<int>(r), pass, use);
    state.num_started = state.num_tasks_done = 0;
    state.num_missing.clear();
    state.has_started.clear();
    for (const AttentionExchange& exchange : state.attention.exchanges) {
      std::set<int> sources;
      for (const Parcel& parcel : exchange.receives) sources.insert(parcel.src);
      const Event event{exchange.stage, exchange.queue, exchange.round};
      require_that(state.num_missing.emplace(event, sources.size()).second, "rank {} has an exchange twice", r);
      state.has_started[event] = 0;
    }
  }
  check_lists(pass, use);
  for (bool has_moved = true; has_moved;) {
    has_moved = false;
    for (std::size_t r = 0; r < ranks_.size(); ++r) {
      const int rank = static_cast<int>(r);
      RankState& state = ranks_[r];
      const RankAttention& attention = state.attention;
      while (state.num_started < attention.exchanges.size() && may_start(state, attention.exchanges[state.num_started])) {
        const AttentionExchange& exchange = attention.exchanges[state.num_started++];
        const Event event{exchange.stage, exchange.queue, exchange.round};
        for (const Parcel& parcel : exchange.sends) {
          mail_[{event, parcel.src, parcel.dst}].emplace_back(parcel, take(rank, exchange.stage, parcel));
        }
        state.has_started[event] = 1;
        has_moved = true;
      }
      for (std::size_t i = 0; i < state.num_started; ++i) {
        const AttentionExchange& exchange = attention.exchanges[i];
        const Event event{exchange.stage, exchange.queue, exchange.round};
        if (state.num_missing[event] == 0) continue;
        for (std::size_t at = 0; at < exchange.receives.size(); ++at) {
          const int src = exchange.receives[at].src;
          if (at > 0 && exchange.receives[at - 1].src == src) continue;
          const auto mail = mail_.find({event, src, rank});
          if (mail == mail_.end()) continue;
          for (auto& [parcel, sums] : mail->second) put(rank, exchange.stage, parcel, std::move(sums));
          mail_.erase(mail);
          --state.num_missing[event];
          has_moved = true;
        }
      }
      while (state.num_tasks_done < attention.tasks.size() && may_run(state, attention.tasks[state.num_tasks_done])) {
        compute(rank, attention.tasks[state.num_tasks_done++]);
        has_moved = true;
      }
    }
  }
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    const RankState& state = ranks_[r];
    require_that(state.num_started == state.attention.exchanges.size() && state.num_tasks_done == state.attention.tasks.size(),
                 "rank {} hangs after {} of {} exchanges and {} of {} tasks", r, state.num_started,
                 state.attention.exchanges.size(), state.num_tasks_done, state.attention.tasks.size());
  }
  require_that(mail_.empty(), "a message was not received");
}

bool SymbolicAttention::is_home(int rank, const Chunk& chunk) const {
  return is_inside(chunk, micro_batch_.homes[static_cast<std::size_t>(rank)]);
}

SymbolicAttention::Sums SymbolicAttention::take(int rank, Stage stage, const Parcel& parcel) {
  RankState& state = ranks_[static_cast<std::size_t>(rank)];
  const Place place{parcel.slice, parcel.member};
  const bool is_member = slice(parcel.slice).ranks[static_cast<std::size_t>(parcel.member)] == rank;
  if (stage == Stage::kDispatch) {
    require_that(is_home(rank, parcel.chunk), "sent from where it has no home: {}", text_of(parcel));
    return {};
  }
  if (stage == Stage::kRotate) {
    const std::vector<char>& held = state.held_keys[place];
    for (std::int64_t t = parcel.chunk.begin; t < parcel.chunk.end; ++t) {
      require_that(static_cast<std::int64_t>(held.size()) > t && held[t] != 0, "rank does not have {}", text_of(parcel));
    }
    return {};
  }
  const bool is_of_keys = parcel.payload == Payload::kKeyValueGradient;
  require_that(is_of_keys || stage == Stage::kReturn, "not for this stage: {}", text_of(parcel));
  require_that(is_member == (stage == Stage::kReturn), "{} by the wrong rank", text_of(parcel));
  Sums& of_place = (is_of_keys ? state.key_sums : state.query_sums)[place];
  of_place.resize(length(parcel.chunk.sequence), Counts(length(parcel.chunk.sequence), 0));
  Sums sums(of_place.begin() + parcel.chunk.begin, of_place.begin() + parcel.chunk.end);
  if (stage == Stage::kRotateGradients) {  // moves on; nothing stays
    for (std::int64_t t = parcel.chunk.begin; t < parcel.chunk.end; ++t) std::fill(of_place[t].begin(), of_place[t].end(), 0);
    if (std::all_of(of_place.begin(), of_place.end(), [](const Counts& counts) {
          return std::all_of(counts.begin(), counts.end(), [](int count) { return count == 0; });
        })) {
      state.key_sums.erase(place);
    }
  }
  return sums;
}

void SymbolicAttention::put(int rank, Stage stage, const Parcel& parcel, Sums sums) {
  RankState& state = ranks_[static_cast<std::size_t>(rank)];
  const AttentionSlice& of = slice(parcel.slice);
  const Place place{parcel.slice, parcel.member};
  const std::int64_t num_tokens = length(parcel.chunk.sequence);
  if (stage == Stage::kDispatch || stage == Stage::kRotate) {
    const bool is_member = of.ranks[static_cast<std::size_t>(parcel.member)] == rank;
    require_that(is_member == (stage == Stage::kDispatch), "{} to the wrong rank", text_of(parcel));
    std::vector<char>& held = (parcel.payload == Payload::kKeyValue ? state.held_keys
                               : parcel.payload == Payload::kQuery  ? state.held_queries
                                                                    : state.held_output_gradients)[place];
    held.resize(num_tokens, 0);
    for (std::int64_t t = parcel.chunk.begin; t < parcel.chunk.end; ++t) {
      require_that(held[t] == 0, "came twice: {}", text_of(parcel));
      held[t] = 1;
    }
    return;
  }
  const auto add = [&](Sums& to) {
    to.resize(num_tokens, Counts(num_tokens, 0));
    for (std::int64_t t = parcel.chunk.begin; t < parcel.chunk.end; ++t) {
      const Counts& from = sums[t - parcel.chunk.begin];
      for (std::int64_t i = 0; i < num_tokens; ++i) to[t][i] += from[i];
    }
  };
  if (stage == Stage::kRotateGradients) {
    add(state.key_sums[place]);
    return;
  }
  require_that(is_home(rank, parcel.chunk), "returned to where it has no home: {}", text_of(parcel));
  for (int head = of.head_begin; head < of.head_end; ++head) {
    add((parcel.payload == Payload::kKeyValueGradient ? home_key_sums_ : home_query_sums_)[{of.sequence, head}]);
  }
}

void SymbolicAttention::compute(int rank, const BlockTask& task) {
  RankState& state = ranks_[static_cast<std::size_t>(rank)];
  const AttentionSlice& of = slice(task.slice);
  const std::int64_t num_tokens = length(of.sequence);
  require_that(of.ranks[static_cast<std::size_t>(task.member)] == rank && task.queue == expansion_.queue(task.slice),
               "rank {} has a task of slice {} member {} in queue {}", rank, task.slice, task.member, task.queue);
  const Place own{task.slice, task.member}, other{task.slice, task.key_member};
  const auto require_all = [&](const std::map<Place, std::vector<char>>& held, const Place& place,
                               const std::vector<Chunk>& chunks, const char* what) {
    const auto at = held.find(place);
    for (const Chunk& chunk : chunks) {
      for (std::int64_t t = chunk.begin; t < chunk.end; ++t) {
        require_that(at != held.end() && at->second[t] != 0, "rank {} computes slice {} without {} {} of member {}", rank,
                     place.first, what, t, place.second);
      }
    }
  };
  const std::vector<Chunk>& queries = of.queries[static_cast<std::size_t>(task.member)];
  const std::vector<Chunk>& keys = of.keys[static_cast<std::size_t>(task.key_member)];
  require_all(state.held_queries, own, queries, "query");
  require_all(state.held_keys, other, keys, "key");
  if (!is_forward_) require_all(state.held_output_gradients, own, queries, "output gradient");
  Sums& query_sums = state.query_sums[own];
  query_sums.resize(num_tokens, Counts(num_tokens, 0));
  Sums* key_sums = nullptr;
  if (!is_forward_) {
    key_sums = &state.key_sums[other];
    key_sums->resize(num_tokens, Counts(num_tokens, 0));
  }
  std::int64_t num_pairs = 0;
  for (const Chunk& query : queries) {
    for (std::int64_t q = query.begin; q < query.end; ++q) {
      for (const Chunk& key : keys) {
        for (std::int64_t k = key.begin; k < std::min(key.end, q + 1); ++k) {
          ++query_sums[q][k];
          if (key_sums != nullptr) ++(*key_sums)[k][q];
          ++num_pairs;
        }
      }
    }
  }
  require_that(num_pairs == task.num_pairs && num_pairs > 0, "a task of slice {} has {} pairs but says {}", task.slice, num_pairs,
               task.num_pairs);
}

void SymbolicAttention::check_home_sums(const std::map<std::pair<std::int64_t, int>, Sums>& sums, bool of_queries,
                                        int times) const {
  for (const auto& [sequence, num_tokens] : lengths_) {
    for (int head = 0; head < heads_.query; ++head) {
      const auto at = sums.find({sequence, head});
      require_that(at != sums.end(), "nothing came home of sequence {} head {}", sequence, head);
      for (std::int64_t t = 0; t < num_tokens; ++t) {
        for (std::int64_t i = 0; i < num_tokens; ++i) {
          const bool is_visible = of_queries ? i <= t : i >= t;
          require_that(at->second[t][i] == (is_visible ? times : 0),
                       "sequence {} head {}: token {} came home with token {} {} times, wanted {}", sequence, head, t, i,
                       at->second[t][i], is_visible ? times : 0);
        }
      }
    }
  }
}

}  // namespace ballast::scheduler
