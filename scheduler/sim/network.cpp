#include "scheduler/sim/network.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

namespace ballast::scheduler {

Network::Network(const Topology& topology)
    : topology_(topology),
      latency_inside_(to_ticks(topology.message_seconds)),
      latency_between_(to_ticks(topology.inter_node_message_seconds)),
      ticks_per_byte_inside_(kTicksPerSecond / topology.intra_node_bytes_per_second),
      free_at_(2 * (topology.node_of_rank.size() + topology.nic_groups.size()), 0) {
  for (const NicGroup& group : topology.nic_groups) ticks_per_byte_.push_back(kTicksPerSecond / group.bytes_per_second);
}

int Network::sender(int src, int dst) const {
  if (!is_between_nodes(src, dst)) return src;
  const int group = topology_.nic_group_of_rank[src];
  if (group < 0)
    throw std::invalid_argument(fmt::format("cluster: rank {} sends to rank {} of another node, but has no card", src, dst));
  return 2 * topology_.num_ranks() + group;
}

int Network::receiver(int src, int dst) const {
  if (!is_between_nodes(src, dst)) return topology_.num_ranks() + dst;
  const int group = topology_.nic_group_of_rank[dst];
  if (group < 0)
    throw std::invalid_argument(
        fmt::format("cluster: rank {} gets a message from rank {} of another node, but has no card", dst, src));
  return 2 * topology_.num_ranks() + static_cast<int>(topology_.nic_groups.size()) + group;
}

Ticks Network::service(int link, std::int64_t bytes) const {
  const int num_rank_links = 2 * topology_.num_ranks();
  const double ticks_per_byte =
      link < num_rank_links ? ticks_per_byte_inside_ : ticks_per_byte_[(link - num_rank_links) % ticks_per_byte_.size()];
  return to_ticks(static_cast<double>(bytes) * ticks_per_byte / kTicksPerSecond);
}

Network::Departure Network::depart(int src, int dst, std::int64_t bytes, Ticks now) {
  const int link = sender(src, dst);
  Departure departure;
  departure.link = link;
  departure.begin = std::max(now, free_at_[link]);
  departure.end = departure.begin + service(link, bytes);
  departure.arrival = departure.begin + (is_between_nodes(src, dst) ? latency_between_ : latency_inside_);
  free_at_[link] = departure.end;
  return departure;
}

Network::Arrival Network::arrive(int src, int dst, std::int64_t bytes, Ticks now) {
  const int link = receiver(src, dst);
  Arrival arrival;
  arrival.link = link;
  arrival.begin = std::max(now, free_at_[link]);
  arrival.free = free_at_[link] = arrival.begin + service(link, bytes);
  // The last byte cannot be here before it has left.
  arrival.end = std::max(arrival.free, now + service(sender(src, dst), bytes));
  return arrival;
}

}  // namespace ballast::scheduler
