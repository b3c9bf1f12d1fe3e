#pragma once
// The links of a cluster as queues.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "scheduler/sim/clock.h"
#include "scheduler/topology/topology.h"

namespace ballast::scheduler {

/// Links of a cluster: each rank's link to its node and each card group, both apart for sending and receiving.
/// A link serves one message at a time, whole, in the order of their coming. A message leaves its sender's link, is under way for
/// the fixed seconds of a message, during which the link serves the next one, and takes its turn at the receiver's link while it
/// still leaves the sender's. So alone it takes the fixed seconds + bytes / bandwidth of the slower link, and no link ever
/// carries more than its bandwidth. The fabric between nodes is taken as free of contention.
class Network {
 public:
  explicit Network(const Topology& topology);

  /// A message between two links.
  struct Flight {
    int link = 0;        ///< of the receiver
    Ticks arrival = 0;   ///< its first byte is there; call arrive() at that time
    Ticks service = 0;   ///< that the receiver's link takes for it
    Ticks earliest = 0;  ///< its last byte cannot be there before it has left
  };
  struct Departure {
    Ticks begin = 0;  ///< the sender's link starts with it
    Ticks end = 0;    ///< the sender's link is free again
    Flight flight;
  };
  /// Takes a message at time `now`. Input: calls with growing times; src != dst.
  /// Throws: std::invalid_argument for ranks of two nodes of which one has no card, and for times beyond the clock (clock.h).
  Departure depart(int src, int dst, std::int64_t bytes, Ticks now);

  struct Arrival {
    Ticks begin = 0;  ///< the receiver's link starts with it
    Ticks free = 0;   ///< the receiver's link is free again
    Ticks end = 0;    ///< all of it is there
  };
  /// Input: for each link, calls with growing times. Throws: std::invalid_argument for times beyond the clock.
  Arrival arrive(const Flight& flight) {
    Arrival arrival;
    arrival.begin = std::max(flight.arrival, free_at_[flight.link]);
    arrival.free = free_at_[flight.link] = later(arrival.begin, flight.service);
    arrival.end = std::max(arrival.free, flight.earliest);
    return arrival;
  }

  /// What a message is under way at least.
  Ticks least_latency() const { return std::min(latency_inside_, latency_between_); }

 private:
  int sender(int src, int dst) const;
  int receiver(int src, int dst) const;
  static Ticks service(double ticks_per_byte, std::int64_t bytes);

  const Topology& topology_;
  Ticks latency_inside_ = 0;
  Ticks latency_between_ = 0;
  // By link: ranks out, ranks in, card groups out, card groups in.
  std::vector<double> ticks_per_byte_;
  std::vector<Ticks> free_at_;
};

}  // namespace ballast::scheduler
