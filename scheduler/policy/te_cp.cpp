#include "scheduler/policy/te_cp.h"

#include <numeric>

#include "scheduler/plan/layout.h"

namespace ballast::scheduler {

Placement place_te_cp(const PlacementRequest& request) {
  require_room(request, "te_cp");
  const int num_ranks = request.topology.num_ranks();
  const std::int64_t multiple = 2 * static_cast<std::int64_t>(num_ranks);
  std::vector<int> all(num_ranks);
  std::iota(all.begin(), all.end(), 0);
  Placement placement;
  for (const std::int64_t s : request.sequences) {
    placement.work.push_back(Ring{s, all, equal_shares(request.lengths[s], num_ranks)});
    placement.charged_tokens.push_back((request.lengths[s] + multiple - 1) / multiple * multiple);
  }
  require_cap(request, placement.work, "te_cp",
              "every sequence is on all ranks; raise the cap, or choose a policy that keeps short sequences whole");
  return placement;
}

}  // namespace ballast::scheduler
