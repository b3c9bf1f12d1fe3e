#include "scheduler/policy/sequential.h"

#include <algorithm>

namespace ballast::scheduler {

std::vector<Ring> rings_in_arrival_order(const PlacementRequest& request, std::int64_t tokens_per_rank) {
  const std::int64_t num_ranks = request.topology.num_ranks();
  const std::int64_t total = request.num_tokens();
  const bool is_enough = tokens_per_rank >= (total + num_ranks - 1) / num_ranks;
  const auto room_of = [&](std::int64_t rank) {
    return is_enough ? tokens_per_rank : total / num_ranks + (rank < total % num_ranks ? 1 : 0);
  };
  std::vector<Ring> rings;
  int rank = 0;
  std::int64_t room = room_of(0);
  for (const std::int64_t s : request.sequences) {
    Ring ring{s, {}, {}};
    for (std::int64_t left = request.lengths[s]; left > 0;) {
      if (room == 0) {
        room = room_of(++rank);
        continue;
      }
      const std::int64_t share = std::min(left, room);
      ring.ranks.push_back(rank);
      ring.shares.push_back(share);
      left -= share;
      room -= share;
    }
    rings.push_back(std::move(ring));
  }
  return rings;
}

Placement place_sequential(const PlacementRequest& request) {
  require_room(request, "sequential");
  Placement placement;
  for (Ring& ring : rings_in_arrival_order(request, std::min(request.tokens_per_rank, request.token_cap)))
    placement.work.push_back(std::move(ring));
  return placement;
}

}  // namespace ballast::scheduler
