#include "scheduler/remap/balanced_homes.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <tuple>

#include "scheduler/plan/layout.h"

namespace ballast::scheduler {

namespace {

/// Floor or ceil of the mean for ranks [begin, end).
void even_out(std::span<const std::int64_t> tokens, int begin, int end, std::vector<std::int64_t>& targets) {
  std::int64_t total = 0;
  for (int r = begin; r < end; ++r) total += tokens[r];
  const std::int64_t quotient = total / (end - begin);
  const std::int64_t spare = total % (end - begin);
  std::vector<int> order(end - begin);
  std::iota(order.begin(), order.end(), begin);
  std::sort(order.begin(), order.end(), [&](int a, int b) { return tokens[a] != tokens[b] ? tokens[a] > tokens[b] : a < b; });
  for (std::size_t i = 0; i < order.size(); ++i) targets[order[i]] = quotient + (static_cast<std::int64_t>(i) < spare ? 1 : 0);
}

/// Splits `amount` over vessels of `rooms` so that the largest part is least; in whole tokens.
std::vector<std::int64_t> filled_evenly(std::int64_t amount, std::span<const std::int64_t> rooms) {
  std::vector<int> order(rooms.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int a, int b) { return rooms[a] != rooms[b] ? rooms[a] < rooms[b] : a < b; });
  std::vector<std::int64_t> parts(rooms.size(), 0);
  auto num_left = static_cast<std::int64_t>(order.size());
  for (const int i : order) {
    // Those after it have as much room, so nothing that it leaves has to be refused.
    parts[i] = std::min(rooms[i], amount / num_left--);
    amount -= parts[i];
  }
  return parts;
}

/// Of what the ranks of a node have to give (or to get), the part that crosses nodes: even over its groups of cards, which are
/// equal (see number_ranks), then over their ranks.
void choose_crossing(const Topology& topology, const Node& node, std::int64_t amount, std::span<const std::int64_t> rooms,
                     std::span<std::int64_t> crossing) {
  if (amount == 0) return;
  // A node without cards has no group; its ranks then count as one.
  std::vector<int> ids;
  std::vector<std::vector<int>> groups;
  std::vector<std::int64_t> group_rooms;
  for (int r = node.first_rank; r < node.first_rank + node.num_ranks; ++r) {
    const int id = topology.nic_group_of_rank[r];
    const auto g = static_cast<std::size_t>(std::find(ids.begin(), ids.end(), id) - ids.begin());
    if (g == ids.size()) {
      ids.push_back(id);
      groups.emplace_back();
      group_rooms.push_back(0);
    }
    groups[g].push_back(r);
    group_rooms[g] += rooms[r];
  }
  const std::vector<std::int64_t> by_group = filled_evenly(amount, group_rooms);
  for (std::size_t g = 0; g < groups.size(); ++g) {
    std::vector<std::int64_t> rank_rooms;
    for (const int r : groups[g]) rank_rooms.push_back(rooms[r]);
    const std::vector<std::int64_t> by_rank = filled_evenly(by_group[g], rank_rooms);
    for (std::size_t i = 0; i < by_rank.size(); ++i) crossing[groups[g][i]] = by_rank[i];
  }
}

/// What one rank has to give, or to get.
struct Amount {
  int rank;
  std::int64_t tokens;
};

/// Matches givers and takers of equal sums in their order: at most givers + takers - 1 moves.
void match(std::span<Amount> givers, std::span<Amount> takers, std::vector<Transfer>& moves) {
  std::size_t g = 0;
  for (Amount& taker : takers) {
    while (taker.tokens > 0) {
      const std::int64_t tokens = std::min(taker.tokens, givers[g].tokens);
      if (tokens > 0) moves.push_back({givers[g].rank, taker.rank, tokens});
      taker.tokens -= tokens;
      givers[g].tokens -= tokens;
      if (givers[g].tokens == 0) ++g;
    }
  }
}

void append(std::vector<Chunk>& home, const Chunk& chunk) {
  if (!home.empty() && home.back().sequence == chunk.sequence && home.back().end == chunk.begin) {
    home.back().end = chunk.end;
  } else {
    home.push_back(chunk);
  }
}

}  // namespace

Remap remap_from(const std::string& name) {
  if (name == "off") return Remap::kOff;
  if (name == "node") return Remap::kNode;
  if (name == "cluster") return Remap::kCluster;
  throw std::invalid_argument(fmt::format("scheduler.remap: unknown value '{}'; known: off, node, cluster", name));
}

std::vector<std::int64_t> balanced_targets(std::span<const std::int64_t> tokens, Remap remap, const Topology& topology) {
  std::vector<std::int64_t> targets(tokens.begin(), tokens.end());
  if (remap == Remap::kCluster) {
    even_out(tokens, 0, topology.num_ranks(), targets);
  } else if (remap == Remap::kNode) {
    for (const Node& node : topology.nodes) even_out(tokens, node.first_rank, node.first_rank + node.num_ranks, targets);
  }
  return targets;
}

std::vector<Transfer> remap_moves(std::span<const std::int64_t> tokens, std::span<const std::int64_t> targets,
                                  const Topology& topology) {
  const std::size_t num_ranks = topology.num_ranks();
  const std::int64_t held = std::accumulate(tokens.begin(), tokens.end(), std::int64_t{0});
  const std::int64_t wanted = std::accumulate(targets.begin(), targets.end(), std::int64_t{0});
  if (tokens.size() != num_ranks || targets.size() != num_ranks || held != wanted) {
    throw std::invalid_argument(fmt::format(
        "remap: {} tokens on {} ranks are to become {} on {} ranks, in a cluster of {}; wanted the same tokens on all of "
        "its ranks",
        held, tokens.size(), wanted, targets.size(), num_ranks));
  }
  std::vector<std::int64_t> surplus(num_ranks), deficit(num_ranks), sent(num_ranks, 0), received(num_ranks, 0);
  for (std::size_t r = 0; r < num_ranks; ++r) {
    surplus[r] = std::max<std::int64_t>(0, tokens[r] - targets[r]);
    deficit[r] = std::max<std::int64_t>(0, targets[r] - tokens[r]);
  }
  std::vector<Transfer> moves;
  std::vector<Amount> senders, receivers, givers, takers;
  for (const Node& node : topology.nodes) {
    std::int64_t excess = 0;
    for (int r = node.first_rank; r < node.first_rank + node.num_ranks; ++r) excess += surplus[r] - deficit[r];
    choose_crossing(topology, node, std::max<std::int64_t>(0, excess), surplus, sent);
    choose_crossing(topology, node, std::max<std::int64_t>(0, -excess), deficit, received);
    givers.clear();
    takers.clear();
    for (int r = node.first_rank; r < node.first_rank + node.num_ranks; ++r) {
      if (sent[r] > 0) senders.push_back({r, sent[r]});
      if (received[r] > 0) receivers.push_back({r, received[r]});
      if (surplus[r] > sent[r]) givers.push_back({r, surplus[r] - sent[r]});
      if (deficit[r] > received[r]) takers.push_back({r, deficit[r] - received[r]});
    }
    match(givers, takers, moves);
  }
  match(senders, receivers, moves);
  std::sort(moves.begin(), moves.end(),
            [](const Transfer& a, const Transfer& b) { return std::tie(a.src, a.dst) < std::tie(b.src, b.dst); });
  return moves;
}

std::vector<std::vector<Chunk>> moved_homes(const std::vector<std::vector<Chunk>>& homes, std::span<const Transfer> moves) {
  // By move, the chunks that travel.
  std::vector<std::vector<Chunk>> travelling(moves.size());
  std::vector<std::vector<Chunk>> result = homes;
  for (std::size_t begin = 0, end = 0; begin < moves.size(); begin = end) {
    const int rank = moves[begin].src;
    std::int64_t wanted = 0;
    while (end < moves.size() && moves[end].src == rank) wanted += moves[end++].num_rows;
    std::vector<Chunk>& home = result[rank];
    if (wanted > num_tokens(home)) {
      throw std::invalid_argument(fmt::format("remap: rank {} is to give {} tokens, but has {}; the moves are of other homes",
                                              rank, wanted, num_tokens(home)));
    }
    const auto size = [&](int i) { return home[i].end - home[i].begin; };
    std::vector<int> order(home.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](int a, int b) { return size(a) != size(b) ? size(a) > size(b) : a < b; });
    for (std::size_t m = begin; m < end; ++m) {
      std::int64_t left = moves[m].num_rows;
      for (const int i : order) {
        if (size(i) == 0 || size(i) > left) continue;
        travelling[m].push_back(home[i]);
        left -= size(i);
        home[i].begin = home[i].end;
      }
      if (left == 0) continue;
      // What is left is smaller than every chunk: the smallest gives its last tokens.
      int smallest = -1;
      for (const int i : order) {
        if (size(i) > 0) smallest = i;
      }
      const std::int64_t cut = home[smallest].end - left;
      travelling[m].push_back({home[smallest].sequence, cut, home[smallest].end});
      home[smallest].end = cut;
      std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return size(a) > size(b); });
    }
    std::erase_if(home, [](const Chunk& chunk) { return chunk.begin == chunk.end; });
  }
  for (std::size_t m = 0; m < moves.size(); ++m) {
    for (const Chunk& chunk : travelling[m]) append(result[moves[m].dst], chunk);
  }
  return result;
}

std::vector<std::vector<Chunk>> balanced_homes(const std::vector<std::vector<Chunk>>& homes, Remap remap,
                                               const Topology& topology) {
  std::vector<std::int64_t> tokens;
  for (const std::vector<Chunk>& home : homes) tokens.push_back(num_tokens(home));
  return moved_homes(homes, remap_moves(tokens, balanced_targets(tokens, remap, topology), topology));
}

}  // namespace ballast::scheduler
