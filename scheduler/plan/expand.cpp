#include "scheduler/plan/expand.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace ballast::scheduler {

namespace {

/// Makes offsets of counts: [i + 1] becomes the sum of all up to i.
void sum_up(std::vector<int>& offsets) {
  for (std::size_t i = 1; i < offsets.size(); ++i) offsets[i] += offsets[i - 1];
}

/// Groups items by `rank_of(item)`, order kept within a group.
template <typename RankOf>
void group_by_rank(std::size_t num_items, int num_ranks, const RankOf& rank_of, std::vector<int>& grouped,
                   std::vector<int>& first) {
  first.assign(static_cast<std::size_t>(num_ranks) + 1, 0);
  for (std::size_t i = 0; i < num_items; ++i) ++first[rank_of(i) + 1];
  sum_up(first);
  std::vector<int> next(first.begin(), first.end() - 1);
  grouped.resize(num_items);
  for (std::size_t i = 0; i < num_items; ++i) grouped[next[rank_of(i)]++] = static_cast<int>(i);
}

/// Rounds after the first of the largest ring.
int most_rounds(const MicroBatch& micro_batch) {
  std::size_t most_members = 1;
  for (const AttentionWork& work : micro_batch.work) {
    if (const auto* ring = std::get_if<Ring>(&work)) most_members = std::max(most_members, ring->ranks.size());
    if (const auto* heads = std::get_if<HeadRing>(&work)) {
      for (const HeadPart& part : heads->parts) most_members = std::max(most_members, part.ranks.size());
    }
  }
  return static_cast<int>(most_members) - 1;
}

bool is_key_value(Payload payload) { return payload == Payload::kKeyValue || payload == Payload::kKeyValueGradient; }

}  // namespace

/// Gathers the parcels of one rank as exchanges.
class AttentionExpansion::Collector {
 public:
  Collector(const AttentionExpansion& expansion, int rank)
      : expansion_(expansion),
        rank_(rank),
        exchange_at_(static_cast<std::size_t>(expansion.position(Stage::kReturn, expansion.num_queues() - 1, 0)) + 1, -1) {}

  void send(Stage stage, int round, const Seat& seat, Payload payload, const Chunk& chunk, int dst) {
    exchange(stage, round, seat).sends.push_back(parcel(seat, payload, chunk, rank_, dst));
  }
  void receive(Stage stage, int round, const Seat& seat, Payload payload, const Chunk& chunk, int src) {
    exchange(stage, round, seat).receives.push_back(parcel(seat, payload, chunk, src, rank_));
  }

  std::vector<AttentionExchange> take() {
    std::vector<AttentionExchange> result;
    result.reserve(exchanges_.size());
    for (const int i : exchange_at_) {
      if (i < 0) continue;
      sort(exchanges_[i].sends, [](const Parcel& parcel) { return parcel.dst; });
      sort(exchanges_[i].receives, [](const Parcel& parcel) { return parcel.src; });
      result.push_back(std::move(exchanges_[i]));
    }
    return result;
  }

 private:
  AttentionExchange& exchange(Stage stage, int round, const Seat& seat) {
    const int queue = expansion_.queue(seat.slice);
    int& at = exchange_at_[expansion_.position(stage, queue, round)];
    if (at < 0) {
      at = static_cast<int>(exchanges_.size());
      exchanges_.push_back({stage, queue, round, {}, {}});
    }
    return exchanges_[at];
  }
  Parcel parcel(const Seat& seat, Payload payload, const Chunk& chunk, int src, int dst) const {
    const AttentionSlice& slice = expansion_.slices_[seat.slice];
    const int num_heads = is_key_value(payload)
                              ? 2 * (key_head_end(slice, expansion_.heads_) - key_head_begin(slice, expansion_.heads_))
                              : slice.head_end - slice.head_begin;
    return {payload, seat.slice, seat.member, src, dst, chunk, (chunk.end - chunk.begin) * num_heads};
  }
  /// Parcels of a ring are collected in order already.
  template <typename Peer>
  static void sort(std::vector<Parcel>& parcels, const Peer& peer) {
    const auto is_before = [&](const Parcel& a, const Parcel& b) {
      if (peer(a) != peer(b)) return peer(a) < peer(b);
      return std::tie(a.slice, a.payload, a.member, a.chunk.begin) < std::tie(b.slice, b.payload, b.member, b.chunk.begin);
    };
    if (!std::is_sorted(parcels.begin(), parcels.end(), is_before)) std::sort(parcels.begin(), parcels.end(), is_before);
  }

  const AttentionExpansion& expansion_;
  int rank_;
  std::vector<AttentionExchange> exchanges_;  ///< as they came up
  std::vector<int> exchange_at_;              ///< by position: index into exchanges_, or -1
};

AttentionExpansion::AttentionExpansion(const MicroBatch& micro_batch, HeadCounts heads, const std::vector<int>& node_of_rank)
    : AttentionExpansion(micro_batch, heads, node_of_rank, HomeIndex(micro_batch), std::nullopt) {}

AttentionExpansion::AttentionExpansion(const MicroBatch& micro_batch, HeadCounts heads, const std::vector<int>& node_of_rank,
                                       int only_rank)
    : AttentionExpansion(micro_batch, heads, node_of_rank, HomeIndex(micro_batch, sequences_of_rank(micro_batch, only_rank)),
                         only_rank) {}

AttentionExpansion::AttentionExpansion(const MicroBatch& micro_batch, HeadCounts heads, const std::vector<int>& node_of_rank,
                                       const HomeIndex& homes, std::optional<int> only_rank)
    : heads_(heads),
      slices_(attention_slices(micro_batch, heads, node_of_rank, homes, kMostSlicesPerPart, only_rank)),
      most_rounds_(scheduler::most_rounds(micro_batch)) {
  // What other members hold concerns the one rank only where it is the home.
  std::optional<HomeIndex> own_homes;
  if (only_rank) own_homes.emplace(micro_batch, *only_rank);
  const auto add_pieces = [&](const std::vector<Chunk>& chunks, int member, Pieces& pieces) {
    pieces.first_of_seat.push_back(static_cast<int>(pieces.pieces.size()));
    const HomeIndex& partners = only_rank && member != *only_rank ? *own_homes : homes;
    for (const Chunk& chunk : chunks) {
      partners.visit_parts(chunk, [&](std::int64_t begin, std::int64_t end, int home) {
        pieces.pieces.push_back({begin, end, static_cast<int>(seats_.size()), home});
        return true;
      });
    }
  };
  const int num_ranks = static_cast<int>(node_of_rank.size());
  bool has_cluster = false;
  for (std::size_t s = 0; s < slices_.size(); ++s) {
    const AttentionSlice& slice = slices_[s];
    has_cluster = has_cluster || slice.zone == Zone::kCluster;
    const int first_seat = static_cast<int>(seats_.size());
    for (std::size_t i = 0; i < slice.ranks.size(); ++i) {
      add_pieces(slice.queries[i], slice.ranks[i], query_pieces_);
      add_pieces(slice.keys[i], slice.ranks[i], key_pieces_);
      seats_.push_back({static_cast<int>(s), static_cast<int>(i), 0, 0});
    }
    add_viewers(first_seat);
  }
  group_by_rank(
      seats_.size(), num_ranks, [&](std::size_t i) { return slices_[seats_[i].slice].ranks[seats_[i].member]; }, seats_by_rank_,
      first_of_rank_);
  for (Pieces* pieces : {&query_pieces_, &key_pieces_}) {
    pieces->first_of_seat.push_back(static_cast<int>(pieces->pieces.size()));
    group_by_rank(
        pieces->pieces.size(), num_ranks, [&](std::size_t i) { return pieces->pieces[i].home; }, pieces->by_home,
        pieces->first_of_home);
  }
  // All waves, so that a rank with fewer of them has its exchanges in the order of all.
  num_queues_ = (has_cluster ? most_waves(micro_batch, heads) : 0) + 2;
}

void AttentionExpansion::add_viewers(int first_seat) {
  const AttentionSlice& slice = slices_[seats_[first_seat].slice];
  const int num_members = static_cast<int>(slice.ranks.size());
  for (int k = 0; k < num_members; ++k) {
    const auto is_viewer = [&](int hops) { return sees(slice.queries[(k + hops) % num_members], slice.keys[k]); };
    Seat& seat = seats_[first_seat + k];
    seat.last_viewer = num_members - 1;
    while (seat.last_viewer > 0 && !is_viewer(seat.last_viewer)) --seat.last_viewer;
    if (seat.last_viewer == 0) continue;
    seat.first_viewer = 1;
    while (!is_viewer(seat.first_viewer)) ++seat.first_viewer;
  }
}

int AttentionExpansion::queue(int slice) const {
  const AttentionSlice& one = slices_[slice];
  if (one.zone == Zone::kCluster) return one.wave;
  return num_queues() - (one.zone == Zone::kNode ? 2 : 1);
}

/// Place of an exchange in the order that all ranks share: dispatches by queue; then each queue has positions for its rounds, one
/// more for the last kRotateGradients and the return, and the next queue's first kRotate goes there too, before them.
int AttentionExpansion::position(Stage stage, int queue, int round) const {
  if (stage == Stage::kDispatch) return queue;
  const int positions_of_queue = most_rounds_ + 2;
  const auto first = [&](int q) { return num_queues_ + q * positions_of_queue; };
  int at = first(queue);
  if (stage == Stage::kReturn) {
    at += most_rounds_ + 1;
  } else if (stage == Stage::kRotate && round == 1 && queue > 0) {
    at = first(queue - 1) + most_rounds_ + 1;
  } else {
    at += round;
  }
  return 4 * at + static_cast<int>(stage);
}

RankAttention AttentionExpansion::rank(int rank, Pass pass, KeyValueUse use) const {
  const bool is_forward = pass == Pass::kForward;
  const Payload query = is_forward ? Payload::kQuery : Payload::kOutputGradient;
  const Payload output = is_forward ? Payload::kOutput : Payload::kQueryGradient;
  Collector collector(*this, rank);
  RankAttention result;

  // As a home.
  const auto each_piece_of_home = [&](const Pieces& pieces, const auto& visit) {
    for (int i = pieces.first_of_home[rank]; i < pieces.first_of_home[rank + 1]; ++i) {
      const Piece& piece = pieces.pieces[pieces.by_home[i]];
      const Seat& seat = seats_[piece.seat];
      const AttentionSlice& slice = slices_[seat.slice];
      visit(seat, Chunk{slice.sequence, piece.begin, piece.end}, slice.ranks[seat.member]);
    }
  };
  each_piece_of_home(query_pieces_, [&](const Seat& seat, const Chunk& chunk, int member) {
    collector.send(Stage::kDispatch, 0, seat, query, chunk, member);
    collector.receive(Stage::kReturn, 0, seat, output, chunk, member);
  });
  if (use == KeyValueUse::kOwn) {
    each_piece_of_home(key_pieces_, [&](const Seat& seat, const Chunk& chunk, int member) {
      if (is_forward) {
        collector.send(Stage::kDispatch, 0, seat, Payload::kKeyValue, chunk, member);
      } else {
        collector.receive(Stage::kReturn, 0, seat, Payload::kKeyValueGradient, chunk, member);
      }
    });
  }

  // As a member.
  for (int i = first_of_rank_[rank]; i < first_of_rank_[rank + 1]; ++i) {
    const int own = seats_by_rank_[i];
    const Seat& seat = seats_[own];
    const AttentionSlice& slice = slices_[seat.slice];
    const auto each_piece = [&](const Pieces& pieces, const auto& visit) {
      for (int p = pieces.first_of_seat[own]; p < pieces.first_of_seat[own + 1]; ++p) {
        const Piece& piece = pieces.pieces[p];
        visit(Chunk{slice.sequence, piece.begin, piece.end}, piece.home);
      }
    };
    each_piece(query_pieces_, [&](const Chunk& chunk, int home) {
      collector.receive(Stage::kDispatch, 0, seat, query, chunk, home);
      collector.send(Stage::kReturn, 0, seat, output, chunk, home);
    });
    if (use == KeyValueUse::kOwn) {
      each_piece(key_pieces_, [&](const Chunk& chunk, int home) {
        if (is_forward) {
          collector.receive(Stage::kDispatch, 0, seat, Payload::kKeyValue, chunk, home);
        } else {
          collector.send(Stage::kReturn, 0, seat, Payload::kKeyValueGradient, chunk, home);
        }
      });
    }

    const int num_members = static_cast<int>(slice.ranks.size());
    const int next = slice.ranks[(seat.member + 1) % num_members];
    const int previous = slice.ranks[(seat.member + num_members - 1) % num_members];
    for (int hops = 0; hops < num_members; ++hops) {  // from the owner of the keys to this member
      const Seat& owner = seats_[own - seat.member + (seat.member - hops + num_members) % num_members];
      const std::vector<Chunk>& keys = slice.keys[owner.member];
      const std::vector<Chunk>& queries = slice.queries[seat.member];
      if (sees(queries, keys)) {
        result.tasks.push_back(
            {queue(seat.slice), hops, seat.slice, seat.member, owner.member, num_visible_pairs(queries, keys)});
      }
      for (const Chunk& chunk : keys) {
        if (hops > 0 && hops <= owner.last_viewer)
          collector.receive(Stage::kRotate, hops, owner, Payload::kKeyValue, chunk, previous);
        if (hops < owner.last_viewer) collector.send(Stage::kRotate, hops + 1, owner, Payload::kKeyValue, chunk, next);
        if (is_forward || owner.last_viewer == 0) continue;
        if (hops == 0) {
          const int last = slice.ranks[(owner.member + owner.last_viewer) % num_members];
          collector.receive(Stage::kRotateGradients, owner.last_viewer + 1, owner, Payload::kKeyValueGradient, chunk, last);
          continue;
        }
        if (hops > owner.first_viewer && hops <= owner.last_viewer)
          collector.receive(Stage::kRotateGradients, hops, owner, Payload::kKeyValueGradient, chunk, previous);
        if (hops >= owner.first_viewer && hops <= owner.last_viewer) {
          const int to = hops == owner.last_viewer ? slice.ranks[owner.member] : next;
          collector.send(Stage::kRotateGradients, hops + 1, owner, Payload::kKeyValueGradient, chunk, to);
        }
      }
    }
  }
  std::sort(result.tasks.begin(), result.tasks.end(), [](const BlockTask& a, const BlockTask& b) {
    return std::tie(a.queue, a.round, a.slice) < std::tie(b.queue, b.round, b.slice);
  });
  result.exchanges = collector.take();
  return result;
}

}  // namespace ballast::scheduler
