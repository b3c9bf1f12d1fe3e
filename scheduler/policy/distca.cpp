#include "scheduler/policy/distca.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "scheduler/plan/layout.h"
#include "scheduler/policy/pack.h"
#include "scheduler/policy/sequential.h"

namespace ballast::scheduler {

namespace {

constexpr std::int64_t kTolerance = 10;  ///< a rank is served while it lacks more than one in this many parts of the mean

/// A document, or what is left of a piece of one: attention of these queries is computed together.
struct Item {
  std::int64_t sequence = 0;
  std::int64_t length = 0;  ///< of the whole document
  int rank = 0;
  Chunk head;
  Chunk tail;
  std::int64_t pairs = 0;
};

Item make_item(std::int64_t sequence, std::int64_t length, int rank, const Chunk& head, const Chunk& tail) {
  return {sequence, length, rank, head, tail, num_pairs(head) + num_pairs(tail)};
}

/// Where `sequential` leaves the documents: a piece of each on every rank of its ring.
std::vector<Item> sequential_items(const PlacementRequest& request) {
  std::vector<Item> items;
  for (const Ring& ring : rings_in_arrival_order(request, 0)) {
    const auto chunks = zigzag_chunks(ring.sequence, ring.shares);
    for (std::size_t i = 0; i < ring.ranks.size(); ++i)
      items.push_back(make_item(ring.sequence, request.lengths[ring.sequence], ring.ranks[i], chunks[i][0], chunks[i][1]));
  }
  return items;
}

class Balancer {
 public:
  Balancer(const PlacementRequest& request, std::vector<Item>& items)
      : items_(items),
        query_width_(static_cast<double>(std::max<std::int64_t>(1, request.model.query_width()))),
        key_width_(static_cast<double>(std::max<std::int64_t>(1, request.model.key_width()))),
        pairs_(request.topology.num_ranks(), 0) {
    for (const Item& item : items_) pairs_[item.rank] += item.pairs;
    mean_ = std::accumulate(pairs_.begin(), pairs_.end(), std::int64_t{0}) / static_cast<std::int64_t>(pairs_.size());
  }

  void run() {
    std::vector<int> recipients;
    for (std::size_t r = 0; r < pairs_.size(); ++r) {
      if (pairs_[r] < mean_) recipients.push_back(static_cast<int>(r));
    }
    std::stable_sort(recipients.begin(), recipients.end(), [&](int a, int b) { return pairs_[a] < pairs_[b]; });
    for (const int recipient : recipients) {
      while (mean_ - pairs_[recipient] > mean_ / kTolerance && fetch(recipient)) {
      }
    }
  }

 private:
  /// Work that may leave an item now, and token pairs to split off for it; 0 pairs: the item goes whole.
  struct Move {
    std::size_t item = 0;
    std::int64_t num_token_pairs = 0;
    double bytes_per_work = 0;
  };

  /// Moves the cheapest work to `recipient`. Returns: false if there is none.
  bool fetch(int recipient) {
    const std::int64_t need = mean_ - pairs_[recipient];
    bool is_found = false;
    Move best;
    for (std::size_t i = 0; i < items_.size(); ++i) {
      const Item& item = items_[i];
      const std::int64_t surplus = pairs_[item.rank] - mean_;
      if (surplus <= 0) continue;
      const std::int64_t work = std::min({item.pairs, surplus, need});
      std::int64_t num_token_pairs = 0;
      if (work < item.pairs) {
        const std::int64_t most = std::min(item.head.end - item.head.begin, item.tail.end - item.tail.begin);
        num_token_pairs = std::min(work / (item.length + 1), most);
        if (num_token_pairs == 0) continue;
      }
      // Queries that travel, and keys and values of the whole document, per unit of work.
      const double moved = static_cast<double>(work);
      const double positions = static_cast<double>(item.length + 1);
      const double bytes_per_work = (moved / positions * query_width_ + 2 * positions * key_width_) / moved;
      if (is_found && bytes_per_work >= best.bytes_per_work) continue;
      is_found = true;
      best = {i, num_token_pairs, bytes_per_work};
    }
    if (is_found) move(best, recipient);
    return is_found;
  }

  void move(const Move& chosen, int recipient) {
    Item& item = items_[chosen.item];
    const std::int64_t before = item.pairs;
    const int source = item.rank;
    if (chosen.num_token_pairs == 0) {
      item.rank = recipient;
      pairs_[source] -= before;
      pairs_[recipient] += before;
      return;
    }
    const std::int64_t q = chosen.num_token_pairs;
    const Chunk head{item.sequence, item.head.end - q, item.head.end};
    const Chunk tail{item.sequence, item.tail.begin, item.tail.begin + q};
    item.head.end -= q;
    item.tail.begin += q;
    const Item moved = make_item(item.sequence, item.length, recipient, head, tail);
    item.pairs -= moved.pairs;
    pairs_[source] -= moved.pairs;
    pairs_[recipient] += moved.pairs;
    items_.push_back(moved);
  }

  std::vector<Item>& items_;
  double query_width_;
  double key_width_;
  std::vector<std::int64_t> pairs_;  ///< by rank: one query on one key
  std::int64_t mean_ = 0;
};

}  // namespace

Placement place_distca(const PlacementRequest& request) {
  require_room(request, "distca");
  const int num_ranks = request.topology.num_ranks();
  std::vector<Item> items = sequential_items(request);
  Placement placement;
  placement.homes.resize(num_ranks);
  for (const Item& item : items) {
    append_chunk(placement.homes[item.rank], item.head);
    append_chunk(placement.homes[item.rank], item.tail);
  }
  Balancer(request, items).run();

  // One task for each document on a rank, in arrival order, whatever number of moves brought its parts there.
  std::vector<std::size_t> place_of(request.lengths.size(), 0);
  for (std::size_t i = 0; i < request.sequences.size(); ++i) place_of[request.sequences[i]] = i;
  std::stable_sort(items.begin(), items.end(), [&](const Item& a, const Item& b) {
    return place_of[a.sequence] != place_of[b.sequence] ? place_of[a.sequence] < place_of[b.sequence] : a.rank < b.rank;
  });
  TaskSet set;
  std::vector<std::int64_t> held(num_ranks, 0);
  for (std::size_t i = 0; i < items.size();) {
    AttentionTask task{items[i].sequence, items[i].rank, {}};
    std::vector<Chunk> chunks;
    for (; i < items.size() && items[i].sequence == task.sequence && items[i].rank == task.rank; ++i) {
      chunks.push_back(items[i].head);
      chunks.push_back(items[i].tail);
    }
    std::sort(chunks.begin(), chunks.end(), [](const Chunk& a, const Chunk& b) { return a.begin < b.begin; });
    for (const Chunk& chunk : chunks) append_chunk(task.queries, chunk);
    held[task.rank] += num_tokens(task.queries);
    set.tasks.push_back(std::move(task));
  }
  for (int r = 0; r < num_ranks; ++r) {
    if (held[r] > request.token_cap) {
      throw InfeasiblePlan(fmt::format(
          "policy distca: rank {} would compute {} queries, but token_cap_per_rank is {}; the rule levels work without "
          "regard to tokens: raise the cap or choose a policy that keeps it",
          r, held[r], request.token_cap));
    }
  }
  if (!set.tasks.empty()) placement.work.push_back(std::move(set));
  return placement;
}

std::vector<FormedMicroBatch> form_distca(const PlacementRequest& request) {
  PlacementRequest uncapped = request;
  uncapped.token_cap = std::numeric_limits<std::int64_t>::max();
  return {{{request.sequences.begin(), request.sequences.end()}, place_distca(uncapped)}};
}

}  // namespace ballast::scheduler
