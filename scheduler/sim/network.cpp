#include "scheduler/sim/network.h"

#include <fmt/format.h>

#include <stdexcept>

namespace ballast::scheduler {

Network::Network(const Topology& topology)
    : topology_(topology),
      latency_inside_(to_ticks(topology.message_seconds)),
      latency_between_(to_ticks(topology.inter_node_message_seconds)),
      ticks_per_byte_(2 * topology.node_of_rank.size(), kTicksPerSecond / topology.intra_node_bytes_per_second),
      free_at_(2 * (topology.node_of_rank.size() + topology.nic_groups.size()), 0) {
  for (int direction = 0; direction < 2; ++direction) {
    for (const NicGroup& group : topology.nic_groups) ticks_per_byte_.push_back(kTicksPerSecond / group.bytes_per_second);
  }
}

int Network::sender(int src, int dst) const {
  if (!topology_.is_between_nodes(src, dst)) return src;
  const int group = topology_.nic_group_of_rank[src];
  if (group < 0)
    throw std::invalid_argument(fmt::format("cluster: rank {} sends to rank {} of another node, but has no card", src, dst));
  return 2 * topology_.num_ranks() + group;
}

int Network::receiver(int src, int dst) const {
  if (!topology_.is_between_nodes(src, dst)) return topology_.num_ranks() + dst;
  const int group = topology_.nic_group_of_rank[dst];
  if (group < 0)
    throw std::invalid_argument(
        fmt::format("cluster: rank {} gets a message from rank {} of another node, but has no card", dst, src));
  return 2 * topology_.num_ranks() + static_cast<int>(topology_.nic_groups.size()) + group;
}

Ticks Network::service(double ticks_per_byte, std::int64_t bytes) {
  return to_ticks(static_cast<double>(bytes) * ticks_per_byte / kTicksPerSecond);
}

Network::Departure Network::depart(int src, int dst, std::int64_t bytes, Ticks now) {
  const int link = sender(src, dst);
  const Ticks leaving = service(ticks_per_byte_[link], bytes);
  Departure departure;
  departure.begin = std::max(now, free_at_[link]);
  departure.end = free_at_[link] = later(departure.begin, leaving);
  Flight& flight = departure.flight;
  flight.link = receiver(src, dst);
  flight.arrival = later(departure.begin, topology_.is_between_nodes(src, dst) ? latency_between_ : latency_inside_);
  const bool is_as_fast = ticks_per_byte_[flight.link] == ticks_per_byte_[link];
  flight.service = is_as_fast ? leaving : service(ticks_per_byte_[flight.link], bytes);
  flight.earliest = later(flight.arrival, leaving);
  return departure;
}

}  // namespace ballast::scheduler
