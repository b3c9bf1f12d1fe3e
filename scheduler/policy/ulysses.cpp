#include "scheduler/policy/ulysses.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "scheduler/policy/pack.h"

namespace ballast::scheduler {

Placement place_ulysses(const PlacementRequest& request) {
  require_room(request, "ulysses");
  const std::int64_t num_ranks = request.topology.num_ranks();
  const std::int64_t num_heads = std::max<std::int64_t>(1, request.model.num_attention_heads);
  const std::int64_t num_key_heads = std::max<std::int64_t>(1, request.model.num_key_value_heads);
  const std::int64_t group_size = std::gcd(std::gcd(num_heads, num_key_heads), num_ranks);
  const std::int64_t num_groups = num_ranks / group_size;

  std::vector<std::vector<std::int64_t>> packs(num_groups);
  std::set<std::pair<std::int64_t, std::int64_t>> groups;  // by tokens held, then id
  for (std::int64_t g = 0; g < num_groups; ++g) groups.emplace(0, g);
  for (const std::int64_t s : longest_first_order(request)) {
    const auto [held, g] = *groups.begin();
    if (request.lengths[s] > group_size * request.token_cap - held) {
      throw InfeasiblePlan(fmt::format(
          "policy ulysses: no group has room for sequence {} of {} tokens: {} query heads, {} key/value heads and {} ranks allow "
          "{} groups of {} ranks, the emptiest holds {} tokens and token_cap_per_rank is {}; raise the cap, or choose a "
          "policy that cuts sequences by token",
          s, request.lengths[s], num_heads, num_key_heads, num_ranks, num_groups, group_size, held, request.token_cap));
    }
    groups.erase(groups.begin());
    groups.emplace(held + request.lengths[s], g);
    packs[g].push_back(s);
  }

  Placement placement;
  for (std::int64_t g = 0; g < num_groups; ++g) {
    if (packs[g].empty()) continue;
    const int first_rank = static_cast<int>(g * group_size);
    if (group_size == 1) {
      for (const std::int64_t s : packs[g]) placement.work.push_back(Ring{s, {first_rank}, {request.lengths[s]}});
      continue;
    }
    HeadAllToAll pack;
    pack.sequences = std::move(packs[g]);
    std::sort(pack.sequences.begin(), pack.sequences.end());
    pack.ranks.resize(group_size);
    std::iota(pack.ranks.begin(), pack.ranks.end(), first_rank);
    pack.num_heads.assign(group_size, static_cast<int>(num_heads / group_size));
    pack.tokens = Pack(pack.sequences, request.lengths).equal_parts(static_cast<int>(group_size));
    placement.work.push_back(std::move(pack));
  }
  return placement;
}

}  // namespace ballast::scheduler
