#include "scheduler/policy/policy.h"

#include <fmt/format.h>

#include <algorithm>

#include "scheduler/plan/layout.h"

namespace ballast::scheduler {

std::vector<std::int64_t> longest_first_order(const PlacementRequest& request) {
  std::vector<std::int64_t> order(request.sequences.begin(), request.sequences.end());
  std::sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return request.lengths[a] != request.lengths[b] ? request.lengths[a] > request.lengths[b] : a < b;
  });
  return order;
}

void require_room(const PlacementRequest& request, const char* policy) {
  const std::int64_t tokens = request.num_tokens();
  const std::int64_t num_ranks = request.topology.num_ranks();
  const std::int64_t needed = (tokens + num_ranks - 1) / num_ranks;
  if (needed > request.token_cap) {
    throw InfeasiblePlan(
        fmt::format("policy {}: a micro-batch of {} tokens needs {} on each of {} ranks, but token_cap_per_rank is {}; raise it "
                    "or lower tokens_per_micro_batch",
                    policy, tokens, needed, num_ranks, request.token_cap));
  }
}

void require_cap(const PlacementRequest& request, std::span<const AttentionWork> work, const char* policy, const char* advice) {
  std::vector<std::int64_t> held(request.topology.num_ranks(), 0);
  for (const AttentionWork& piece : work) add_attention_tokens(piece, held);
  const auto most = std::max_element(held.begin(), held.end());
  if (most == held.end() || *most <= request.token_cap) return;
  throw InfeasiblePlan(fmt::format(
      "policy {}: rank {} would hold {} tokens of a micro-batch of {} on {} ranks, but token_cap_per_rank is {}; {}", policy,
      most - held.begin(), *most, request.num_tokens(), request.topology.num_ranks(), request.token_cap, advice));
}

}  // namespace ballast::scheduler
