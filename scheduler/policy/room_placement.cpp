#include "scheduler/policy/room_placement.h"

#include <algorithm>
#include <set>

namespace ballast::scheduler {

Placement place_by_room(const PlacementRequest& request) {
  Placement placement;
  std::set<std::pair<std::int64_t, int>> ranks;  // by tokens held, then id
  for (int r = 0; r < request.topology.num_ranks(); ++r) ranks.emplace(0, r);
  for (const std::int64_t s : longest_first_order(request)) {
    std::int64_t left = request.lengths[s];
    Ring ring{s, {}, {}};
    std::vector<std::pair<std::int64_t, int>> changed;
    while (left > 0) {
      const auto [held, rank] = *ranks.begin();
      ranks.erase(ranks.begin());
      const std::int64_t share = std::min(left, request.token_cap - held);
      if (share <= 0) break;
      ring.ranks.push_back(rank);
      ring.shares.push_back(share);
      changed.emplace_back(held + share, rank);
      left -= share;
    }
    ranks.insert(changed.begin(), changed.end());
    placement.work.push_back(std::move(ring));
  }
  return placement;
}

}  // namespace ballast::scheduler
