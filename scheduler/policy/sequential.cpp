#include "scheduler/policy/sequential.h"

#include <fmt/format.h>

namespace ballast::scheduler {

Placement place_sequential(const PlacementRequest& request) {
  const int num_ranks = request.topology.num_ranks();
  require_room(request, "sequential");
  const std::int64_t budget = (request.num_tokens() + num_ranks - 1) / num_ranks;

  std::vector<std::vector<std::int64_t>> packs;
  std::int64_t tokens = 0;
  for (const std::int64_t s : request.sequences) {
    if (packs.empty() || tokens + request.lengths[s] > budget) {
      packs.emplace_back();
      tokens = 0;
    }
    packs.back().push_back(s);
    tokens += request.lengths[s];
  }
  const std::size_t rounds = (packs.size() + num_ranks - 1) / num_ranks;
  std::vector<std::vector<std::int64_t>> popped;
  for (std::size_t j = packs.size(); j-- > 0 && packs.size() + popped.size() < rounds * num_ranks;) {
    while (packs[j].size() > 1 && packs.size() + popped.size() < rounds * num_ranks) {
      popped.push_back({packs[j].back()});
      packs[j].pop_back();
    }
  }
  packs.insert(packs.end(), popped.begin(), popped.end());

  Placement placement;
  std::vector<std::int64_t> held(num_ranks, 0);
  for (std::size_t j = 0; j < packs.size(); ++j) {
    const int rank = static_cast<int>(j % num_ranks);
    for (const std::int64_t s : packs[j]) {
      placement.work.push_back(Ring{s, {rank}, {request.lengths[s]}});
      held[rank] += request.lengths[s];
    }
    if (held[rank] > request.token_cap) {
      throw InfeasiblePlan(
          fmt::format("policy sequential: rank {} would hold {} tokens, but token_cap_per_rank is {}; raise the cap, shorten the "
                      "documents or choose longest_first",
                      rank, held[rank], request.token_cap));
    }
  }
  return placement;
}

}  // namespace ballast::scheduler
