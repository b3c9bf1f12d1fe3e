#include "scheduler/route/route.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <tuple>

namespace ballast::scheduler {

namespace {

constexpr int kMaxSlices = 64;
constexpr std::int64_t kMaxBytes = std::int64_t{1} << 62;

/// The end of a message whose cards are looked at.
enum class Side { kSend, kReceive };

/// Rows of a message that pass through another card group than their own.
struct Move {
  int message;
  std::int64_t rows;
  int proxy;
};

int end_of(const Transfer& message, Side side) { return side == Side::kSend ? message.src : message.dst; }

void check(std::span<const Transfer> messages, std::int64_t row_bytes, const Topology& topology) {
  const int num_ranks = topology.num_ranks();
  if (row_bytes < 1) throw std::invalid_argument(fmt::format("route: rows of {} bytes; wanted at least 1", row_bytes));
  if (messages.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
    throw std::invalid_argument(fmt::format("route: {} messages in one exchange; split it", messages.size()));
  }
  std::int64_t rows_left = kMaxBytes / row_bytes;
  for (std::size_t m = 0; m < messages.size(); ++m) {
    const auto& [src, dst, num_rows] = messages[m];
    if (src < 0 || src >= num_ranks || dst < 0 || dst >= num_ranks) {
      throw std::invalid_argument(
          fmt::format("route: message {} goes from rank {} to rank {}, but the ranks are 0 to {}", m, src, dst, num_ranks - 1));
    }
    if (num_rows < 0 || num_rows > rows_left) {
      throw std::invalid_argument(
          fmt::format("route: message {} has {} rows of {} bytes; wanted none or more, and at most {} bytes "
                      "in all",
                      m, num_rows, row_bytes, kMaxBytes));
    }
    rows_left -= num_rows;
    if (num_rows == 0 || !topology.is_between_nodes(src, dst)) continue;
    for (const int rank : {src, dst}) {
      if (topology.nic_group_of_rank[rank] >= 0) continue;
      const int node = topology.node_of_rank[rank];
      throw std::invalid_argument(
          fmt::format("route: message {} goes from node {} to node {}, but node {} has no network card; give it num_nics in the "
                      "cluster or keep its sequences on it",
                      m, topology.node_of_rank[src], topology.node_of_rank[dst], node));
    }
  }
}

/// Items sorted by a small key: those of key k are items[begin[k] .. begin[k + 1]).
struct Buckets {
  std::vector<int> begin;
  std::vector<int> items;

  std::span<int> operator[](int key) {
    return std::span<int>(items).subspan(begin[key], static_cast<std::size_t>(begin[key + 1] - begin[key]));
  }
};

/// Counting sort of 0..num_items-1; key(i) below 0 leaves i out.
template <typename Key>
Buckets bucket(int num_items, int num_keys, const Key& key) {
  Buckets buckets;
  buckets.begin.assign(static_cast<std::size_t>(num_keys) + 1, 0);
  for (int i = 0; i < num_items; ++i) {
    if (key(i) >= 0) ++buckets.begin[key(i) + 1];
  }
  for (int k = 0; k < num_keys; ++k) buckets.begin[k + 1] += buckets.begin[k];
  buckets.items.resize(buckets.begin[num_keys]);
  std::vector<int> next(buckets.begin.begin(), buckets.begin.end() - 1);
  for (int i = 0; i < num_items; ++i) {
    if (key(i) >= 0) buckets.items[next[key(i)]++] = i;
  }
  return buckets;
}

/// small_flow_bytes of a node of equal groups; number_ranks makes no others.
double small_flow(const Topology& topology, double rate, int num_groups) {
  const double moved = 2 * (1 - 1.0 / num_groups) / topology.intra_node_bytes_per_second;
  const double saved = (1 - 1.0 / num_groups) / rate;
  if (saved <= 0) return std::numeric_limits<double>::infinity();
  const double alpha = std::max(topology.message_seconds, topology.inter_node_message_seconds);
  // sqrt is exact to the last bit by IEEE 754, so it is the same on every machine.
  const double root = (std::sqrt(moved * alpha) + std::sqrt((moved + saved) * alpha)) / saved;
  return root * root;
}

class Router {
 public:
  Router(std::span<const Transfer> messages, std::int64_t row_bytes, const Topology& topology)
      : messages_(messages), bytes_(static_cast<double>(row_bytes)), topology_(topology) {
    num_messages_ = static_cast<int>(messages.size());
    alpha_in_ = topology.message_seconds;
    alpha_out_ = topology.inter_node_message_seconds;
    alpha_ = std::max(alpha_in_, alpha_out_);
  }

  RoutedExchange run() const {
    const double seconds = direct_seconds();
    std::vector<Move> sent, received;
    level(Side::kSend, sent);
    level(Side::kReceive, received);
    RoutedExchange routed;
    routed.direct_seconds = routed.routed_seconds = seconds;
    if (!sent.empty() || !received.empty()) {
      routed.parts = overlay(sent, received);
      estimate(routed);
      routed.is_routed = routed.routed_seconds < seconds;
    }
    if (routed.is_routed) return routed;
    RoutedExchange direct = all_direct(seconds);
    direct.routed_seconds = routed.routed_seconds;
    return direct;
  }

  double direct_seconds() const {
    std::vector<double> sent(topology_.nic_groups.size(), 0), received(sent);
    std::vector<double> local_out(topology_.num_ranks(), 0), local_in(local_out);
    double between = -1, inside = -1;
    for (const Transfer& message : messages_) {
      const auto& [src, dst, rows] = message;
      if (rows == 0 || src == dst) continue;
      const double bytes = static_cast<double>(rows) * bytes_;
      if (topology_.is_between_nodes(src, dst)) {
        const int out = topology_.nic_group_of_rank[src], in = topology_.nic_group_of_rank[dst];
        between = std::max({between, (sent[out] += bytes) / topology_.nic_groups[out].bytes_per_second,
                            (received[in] += bytes) / topology_.nic_groups[in].bytes_per_second});
      } else {
        inside = std::max({inside, local_out[src] += bytes, local_in[dst] += bytes});
      }
    }
    return std::max(between >= 0 ? alpha_out_ + between : 0,
                    inside >= 0 ? alpha_in_ + inside / topology_.intra_node_bytes_per_second : 0);
  }

  RoutedExchange all_direct(double seconds) const {
    RoutedExchange direct;
    direct.direct_seconds = direct.routed_seconds = seconds;
    direct.parts.reserve(messages_.size());
    for (int m = 0; m < num_messages_; ++m) {
      const auto& [src, dst, rows] = messages_[m];
      if (rows > 0) direct.parts.push_back({m, 0, rows, src, src, dst, dst, 0, 1});
    }
    return direct;
  }

 private:
  /// A part that would spend less time on a card than the fixed cost of its message is not made.
  std::int64_t least_rows(double group_bytes_per_second) const {
    return std::max<std::int64_t>(1, static_cast<std::int64_t>(alpha_out_ * group_bytes_per_second / bytes_));
  }

  /// One end of all messages, in rows.
  struct Ends {
    Side side;
    Buckets by_group;                 ///< messages between nodes
    std::vector<std::int64_t> load;   ///< of each card group
    std::vector<std::int64_t> own;    ///< of each rank, between nodes
    std::vector<std::int64_t> local;  ///< of each rank, inside its node
    std::vector<std::int64_t> relayed;
    std::vector<std::int64_t> moved;  ///< of each rank, to proxies
  };

  /// Moves rows from the groups above their node's mean to those below.
  void level(Side side, std::vector<Move>& moves) const {
    const int num_groups = static_cast<int>(topology_.nic_groups.size());
    Ends ends{side, {}, std::vector<std::int64_t>(num_groups, 0), std::vector<std::int64_t>(topology_.num_ranks(), 0), {},
              {},   {}};
    ends.local = ends.relayed = ends.moved = ends.own;
    std::vector<int> group_of(num_messages_, -1);
    for (int m = 0; m < num_messages_; ++m) {
      const std::int64_t rows = messages_[m].num_rows;
      const int rank = end_of(messages_[m], side);
      if (rows > 0 && topology_.is_between_nodes(messages_[m].src, messages_[m].dst)) {
        group_of[m] = topology_.nic_group_of_rank[rank];
        ends.load[group_of[m]] += rows;
        ends.own[rank] += rows;
      } else if (messages_[m].src != messages_[m].dst) {
        ends.local[rank] += rows;
      }
    }
    ends.by_group = bucket(num_messages_, num_groups, [&](int m) { return group_of[m]; });
    for (int begin = 0, end = 0; begin < num_groups; begin = end) {
      while (end < num_groups && topology_.nic_groups[end].node == topology_.nic_groups[begin].node) ++end;
      level_node(begin, end, ends, moves);
    }
  }

  /// level for the node of groups [begin, end).
  void level_node(int begin, int end, Ends& ends, std::vector<Move>& moves) const {
    const std::vector<std::int64_t>& load = ends.load;
    std::int64_t total = 0;
    for (int g = begin; g < end; ++g) total += load[g];
    const double rate = topology_.nic_groups[begin].bytes_per_second;
    const double cutoff = small_flow(topology_, rate, end - begin);
    const double intra = topology_.intra_node_bytes_per_second;
    const std::int64_t least = least_rows(rate);
    const int num_groups = end - begin;
    std::vector<std::int64_t> room(num_groups);
    for (int g = begin; g < end; ++g) room[g - begin] = total / num_groups + (g - begin < total % num_groups ? 1 : 0) - load[g];
    const auto roomiest = [&] { return static_cast<int>(std::max_element(room.begin(), room.end()) - room.begin()); };
    const auto take = [&](int message, std::int64_t rows, int group) {
      const std::vector<int>& ranks = topology_.nic_groups[begin + group].ranks;
      const int proxy =
          *std::min_element(ranks.begin(), ranks.end(), [&](int a, int b) { return ends.relayed[a] < ends.relayed[b]; });
      ends.relayed[proxy] += rows;
      room[group] -= rows;
      moves.push_back({message, rows, proxy});
    };
    for (int g = begin; g < end; ++g) {
      if (room[g - begin] >= 0 || static_cast<double>(load[g]) * bytes_ < cutoff) continue;
      // The largest first; only as many as are needed come off the heap.
      std::span<int> heap = ends.by_group[g];
      const auto is_after = [&](int a, int b) {
        return messages_[a].num_rows != messages_[b].num_rows ? messages_[a].num_rows < messages_[b].num_rows : a > b;
      };
      std::make_heap(heap.begin(), heap.end(), is_after);
      while (room[g - begin] < 0 && !heap.empty()) {
        const int m = heap.front();
        std::pop_heap(heap.begin(), heap.end(), is_after);
        heap = heap.first(heap.size() - 1);
        const int rank = end_of(messages_[m], ends.side);
        const std::int64_t rows = messages_[m].num_rows;
        // What the rank moves inside its node may not take longer than what stays would on the cards.
        const double budget =
            (static_cast<double>(ends.own[rank]) * intra - static_cast<double>(ends.local[rank]) * rate) / (intra + rate);
        const std::int64_t may_move = static_cast<std::int64_t>(std::max(0.0, budget)) - ends.moved[rank];
        std::int64_t left = std::min({rows, -room[g - begin], may_move});
        if (left <= 0) continue;
        const bool is_small = static_cast<double>(rows) * bytes_ < cutoff;
        if (is_small && left < rows) continue;
        if (left < rows) left = std::min(left, rows - least);
        while (left > 0) {
          const int group = roomiest();
          std::int64_t part = std::min(left, room[group]);
          // What finds no other room stays, and is then a part of its own.
          if (part < left) part = std::min(part, left - least);
          if (is_small ? part < rows : part < least) break;
          take(m, part, group);
          room[g - begin] += part;
          ends.moved[rank] += part;
          left -= part;
        }
      }
    }
  }

  /// One side of a message: the group's place in its node, the rank that the rows pass, where they end in the message.
  struct Segment {
    int rail;
    int rank;
    std::int64_t end;
  };

  void segments(int own_rank, std::int64_t rows, std::span<const int> items, const std::vector<Move>& moves,
                std::vector<Segment>& result) const {
    result.clear();
    std::int64_t left = rows;
    const auto rail = [&](int rank) { return topology_.nic_groups[topology_.nic_group_of_rank[rank]].first_nic; };
    for (const int i : items) {
      result.push_back({rail(moves[i].proxy), moves[i].proxy, moves[i].rows});
      left -= moves[i].rows;
    }
    if (left > 0) result.push_back({rail(own_rank), own_rank, left});
    // By rail (no two are equal) on both sides, so that what is cut in the same way leaves and arrives on the same rail.
    std::sort(result.begin(), result.end(), [](const Segment& a, const Segment& b) { return a.rail < b.rail; });
    std::int64_t at = 0;
    for (Segment& segment : result) segment.end = at += segment.end;
  }

  std::vector<RoutedPart> overlay(const std::vector<Move>& sent, const std::vector<Move>& received) const {
    const auto by_message = [&](const std::vector<Move>& moves) {
      return bucket(static_cast<int>(moves.size()), num_messages_, [&](int i) { return moves[i].message; });
    };
    Buckets out_moves = by_message(sent), in_moves = by_message(received);
    std::vector<RoutedPart> parts;
    parts.reserve(messages_.size() + sent.size() + received.size());
    std::vector<Segment> out, in;
    for (int m = 0; m < num_messages_; ++m) {
      const auto& [src, dst, rows] = messages_[m];
      if (rows == 0) continue;
      if (out_moves[m].empty() && in_moves[m].empty()) {
        parts.push_back({m, 0, rows, src, src, dst, dst, 0, 1});
        continue;
      }
      segments(src, rows, out_moves[m], sent, out);
      segments(dst, rows, in_moves[m], received, in);
      // Cuts of the two sides that nearly meet become one, or slivers would travel.
      const std::int64_t least = least_rows(topology_.nic_groups[topology_.nic_group_of_rank[dst]].bytes_per_second);
      std::size_t o = 0;
      for (std::size_t i = 0; i + 1 < in.size(); ++i) {
        while (o + 1 < out.size() && std::abs(out[o + 1].end - in[i].end) <= std::abs(out[o].end - in[i].end)) ++o;
        if (std::abs(out[o].end - in[i].end) < least) in[i].end = out[o].end;
      }
      std::int64_t at = 0;
      for (std::size_t i = 0, e = 0; at < rows;) {
        const std::int64_t end = std::min(out[e].end, in[i].end);
        if (end > at) parts.push_back({m, at, end, src, out[e].rank, in[i].rank, dst, 0, 1});
        at = std::max(at, end);
        if (out[e].end <= at) ++e;
        if (i < in.size() && in[i].end <= at) ++i;
      }
    }
    return parts;
  }

  /// Chooses the slices and fills routed_seconds.
  void estimate(RoutedExchange& exchange) const {
    const std::size_t num_ranks = topology_.num_ranks(), num_groups = topology_.nic_groups.size();
    std::vector<double> dispatched_out(num_ranks, 0), dispatched_in(num_ranks, 0), combined_out(num_ranks, 0),
        combined_in(num_ranks, 0), local_out(num_ranks, 0), local_in(num_ranks, 0), sent(num_groups, 0), received(num_groups, 0);
    std::vector<bool> relays_out(num_groups, false), relays_in(num_groups, false);
    for (const RoutedPart& part : exchange.parts) {
      if (part.src == part.dst) continue;
      const double bytes = static_cast<double>(part.row_end - part.row_begin) * bytes_;
      if (!topology_.is_between_nodes(part.src, part.dst)) {
        local_out[part.src] += bytes;
        local_in[part.dst] += bytes;
        continue;
      }
      const int out = topology_.nic_group_of_rank[part.src_proxy], in = topology_.nic_group_of_rank[part.dst_proxy];
      sent[out] += bytes;
      received[in] += bytes;
      if (!part.is_direct()) relays_out[out] = relays_in[in] = true;
      if (part.src_proxy != part.src) {
        dispatched_out[part.src] += bytes;
        dispatched_in[part.src_proxy] += bytes;
      }
      if (part.dst_proxy != part.dst) {
        combined_out[part.dst_proxy] += bytes;
        combined_in[part.dst] += bytes;
      }
    }
    double dispatch = 0, combine = 0, inside = 0, wire = 0, relay_wire = 0, local = 0;
    for (std::size_t r = 0; r < num_ranks; ++r) {
      dispatch = std::max({dispatch, dispatched_out[r], dispatched_in[r]});
      combine = std::max({combine, combined_out[r], combined_in[r]});
      inside =
          std::max({inside, dispatched_out[r] + combined_out[r] + local_out[r], dispatched_in[r] + combined_in[r] + local_in[r]});
      local = std::max({local, local_out[r], local_in[r]});
    }
    dispatch /= topology_.intra_node_bytes_per_second;
    combine /= topology_.intra_node_bytes_per_second;
    inside /= topology_.intra_node_bytes_per_second;
    local /= topology_.intra_node_bytes_per_second;
    for (std::size_t g = 0; g < num_groups; ++g) {
      const double rate = topology_.nic_groups[g].bytes_per_second;
      wire = std::max({wire, sent[g] / rate, received[g] / rate});
      if (relays_out[g]) relay_wire = std::max(relay_wire, sent[g] / rate);
      if (relays_in[g]) relay_wire = std::max(relay_wire, received[g] / rate);
    }
    const double steps = dispatch + relay_wire + combine;
    const double bottleneck = std::min(steps, std::max(relay_wire, inside));
    const int m = best_num_slices(steps, bottleneck, alpha_);
    const double fill = alpha_out_ + (dispatch > 0 ? alpha_in_ : 0) + (combine > 0 ? alpha_in_ : 0);
    const double relayed = steps / m + (m - 1) * bottleneck / m + fill + (m - 1) * alpha_;
    exchange.num_slices = m;
    exchange.routed_seconds = std::max({relayed, alpha_out_ + wire, alpha_in_ + inside, local > 0 ? alpha_in_ + local : 0});

    int num_short = 0;
    for (RoutedPart& part : exchange.parts) {
      if (part.is_direct()) continue;
      const NicGroup& group = topology_.nic_groups[topology_.nic_group_of_rank[part.src_proxy]];
      const std::int64_t worth = (part.row_end - part.row_begin) / least_rows(group.bytes_per_second);
      part.num_slices = static_cast<int>(std::clamp<std::int64_t>(worth, 1, m));
      // Parts that are too small for all slices are dealt over them.
      if (part.num_slices < m) part.first_slice = num_short++ % (m - part.num_slices + 1);
    }
  }

  std::span<const Transfer> messages_;
  double bytes_;  ///< of a row
  const Topology& topology_;
  int num_messages_ = 0;
  double alpha_in_ = 0;
  double alpha_out_ = 0;
  double alpha_ = 0;
};

}  // namespace

RoutedExchange route(std::span<const Transfer> messages, std::int64_t row_bytes, const Topology& topology) {
  check(messages, row_bytes, topology);
  return Router(messages, row_bytes, topology).run();
}

RoutedExchange direct_exchange(std::span<const Transfer> messages, std::int64_t row_bytes, const Topology& topology) {
  check(messages, row_bytes, topology);
  const Router router(messages, row_bytes, topology);
  return router.all_direct(router.direct_seconds());
}

RowRange slice_rows(const RoutedPart& part, int slice) {
  const int i = slice - part.first_slice;
  if (i < 0 || i >= part.num_slices) return {part.row_begin, part.row_begin};
  // Equal to one row; quotient and rest apart, because rows times slices may not fit.
  const std::int64_t quotient = (part.row_end - part.row_begin) / part.num_slices;
  const std::int64_t rest = (part.row_end - part.row_begin) % part.num_slices;
  const auto edge = [&](std::int64_t k) { return part.row_begin + k * quotient + std::min(k, rest); };
  return {edge(i), edge(i + 1)};
}

std::vector<Transfer> step_transfers(const RoutedExchange& exchange, RouteStep step, int slice) {
  std::vector<Transfer> transfers;
  for (const RoutedPart& part : exchange.parts) {
    const int src = step == RouteStep::kDispatch ? part.src : step == RouteStep::kTransfer ? part.src_proxy : part.dst_proxy;
    const int dst = step == RouteStep::kDispatch ? part.src_proxy : step == RouteStep::kTransfer ? part.dst_proxy : part.dst;
    if (src == dst && (step != RouteStep::kTransfer || part.src != part.dst)) continue;
    const RowRange rows = slice_rows(part, slice);
    if (rows.end > rows.begin) transfers.push_back({src, dst, rows.end - rows.begin});
  }
  std::sort(transfers.begin(), transfers.end(),
            [](const Transfer& a, const Transfer& b) { return std::tie(a.src, a.dst) < std::tie(b.src, b.dst); });
  std::size_t kept = 0;
  for (const Transfer& transfer : transfers) {
    if (kept > 0 && transfers[kept - 1].src == transfer.src && transfers[kept - 1].dst == transfer.dst) {
      transfers[kept - 1].num_rows += transfer.num_rows;
    } else {
      transfers[kept++] = transfer;
    }
  }
  transfers.resize(kept);
  return transfers;
}

std::vector<NicLoad> nic_loads(const RoutedExchange& exchange, std::int64_t row_bytes, const Topology& topology) {
  std::vector<NicLoad> loads(topology.nic_groups.size());
  for (const RoutedPart& part : exchange.parts) {
    if (!topology.is_between_nodes(part.src, part.dst)) continue;
    const std::int64_t bytes = (part.row_end - part.row_begin) * row_bytes;
    loads[topology.nic_group_of_rank[part.src_proxy]].sent_bytes += bytes;
    loads[topology.nic_group_of_rank[part.dst_proxy]].received_bytes += bytes;
  }
  return loads;
}

double nic_bound_seconds(std::span<const Transfer> messages, std::int64_t row_bytes, const Topology& topology) {
  check(messages, row_bytes, topology);
  std::vector<double> rate(topology.num_nodes(), 0), sent(rate), received(rate);
  for (const NicGroup& group : topology.nic_groups) rate[group.node] += group.bytes_per_second;
  for (const Transfer& message : messages) {
    if (message.num_rows == 0 || !topology.is_between_nodes(message.src, message.dst)) continue;
    const double bytes = static_cast<double>(message.num_rows) * static_cast<double>(row_bytes);
    sent[topology.node_of_rank[message.src]] += bytes;
    received[topology.node_of_rank[message.dst]] += bytes;
  }
  double bound = 0;
  for (int n = 0; n < topology.num_nodes(); ++n) {
    if (rate[n] > 0) bound = std::max(bound, std::max(sent[n], received[n]) / rate[n]);
  }
  return bound;
}

double small_flow_bytes(const Topology& topology, int nic_group) {
  const int node = topology.nic_groups[nic_group].node;
  const auto num_groups = std::count_if(topology.nic_groups.begin(), topology.nic_groups.end(),
                                        [&](const NicGroup& group) { return group.node == node; });
  return small_flow(topology, topology.nic_groups[nic_group].bytes_per_second, static_cast<int>(num_groups));
}

int best_num_slices(double steps, double bottleneck, double alpha) {
  int m = 1;
  while (m < kMaxSlices && steps - bottleneck > static_cast<double>(m) * (m + 1) * alpha) ++m;
  return m;
}

}  // namespace ballast::scheduler
