#include "scheduler/sim/symmetric_ring.h"

#include "scheduler/plan/layout.h"

namespace ballast::scheduler {

std::optional<SymmetricRing> symmetric_ring(const MicroBatch& micro_batch, const std::vector<std::int64_t>& charged_tokens,
                                            const std::vector<int>& node_of_rank) {
  if (charged_tokens.empty() || micro_batch.work.empty()) return std::nullopt;
  SymmetricRing result;
  std::vector<std::vector<Chunk>> homes(micro_batch.homes.size());
  for (const AttentionWork& work : micro_batch.work) {
    const Ring* ring = std::get_if<Ring>(&work);
    if (ring == nullptr) return std::nullopt;
    if (result.ranks.empty()) result.ranks = ring->ranks;
    const auto num_members = static_cast<std::int64_t>(ring->ranks.size());
    const std::int64_t charged = charged_tokens[ring->sequence];
    if (num_members < 2 || ring->ranks != result.ranks || charged % (2 * num_members) != 0) return std::nullopt;
    std::int64_t length = 0;
    for (const std::int64_t share : ring->shares) length += share;
    if (ring->shares != equal_shares(length, static_cast<int>(num_members))) return std::nullopt;
    append_chunks(*ring, homes);
    // Two chunks of this size: each sees half of itself, the later one the earlier one; of another member's two, two see two.
    const std::int64_t half = charged / (2 * num_members);
    result.tokens += 2 * half;
    result.own_pairs += 2 * half * half + half;
    result.other_pairs += 2 * half * half;
  }
  if (homes != micro_batch.homes) return std::nullopt;
  for (const int rank : result.ranks) {
    if (node_of_rank[rank] != node_of_rank[result.ranks.front()]) result.zone = Zone::kCluster;
  }
  return result;
}

AttentionSlice symmetric_slice(const SymmetricRing& ring, HeadCounts heads) {
  AttentionSlice slice;
  slice.head_end = heads.query;
  slice.zone = ring.zone;
  slice.ranks = ring.ranks;
  return slice;
}

RankAttention symmetric_attention(const SymmetricRing& ring, int member, HeadCounts heads, Pass pass, KeyValueUse use,
                                  int num_rounds) {
  const bool is_forward = pass == Pass::kForward;
  const int num_members = static_cast<int>(ring.ranks.size());
  const int own = ring.ranks[member];
  const int next = ring.ranks[(member + 1) % num_members];
  const int previous = ring.ranks[(member + num_members - 1) % num_members];
  const Chunk chunk{0, 0, ring.tokens};
  const auto rows = [&](Payload payload) {
    const bool is_key = payload == Payload::kKeyValue || payload == Payload::kKeyValueGradient;
    return ring.tokens * (is_key ? 2 * heads.key_value : heads.query);
  };
  RankAttention result;
  const auto copy = [&](Stage stage, std::vector<Payload> payloads) {
    AttentionExchange exchange{stage, 0, 0, {}, {}};
    for (const Payload payload : payloads) {
      exchange.sends.push_back({payload, 0, member, own, own, chunk, rows(payload)});
      exchange.receives.push_back(exchange.sends.back());
    }
    result.exchanges.push_back(std::move(exchange));
  };
  const auto shift = [&](Stage stage, int round, Payload payload) {
    result.exchanges.push_back({stage,
                                0,
                                round,
                                {{payload, 0, member, own, next, chunk, rows(payload)}},
                                {{payload, 0, member, previous, own, chunk, rows(payload)}}});
  };
  const bool has_keys = use == KeyValueUse::kOwn;
  if (is_forward) {
    has_keys ? copy(Stage::kDispatch, {Payload::kQuery, Payload::kKeyValue}) : copy(Stage::kDispatch, {Payload::kQuery});
  } else {
    copy(Stage::kDispatch, {Payload::kOutputGradient});
  }
  for (int round = 1; round <= num_rounds; ++round) {
    if (round < num_rounds) shift(Stage::kRotate, round, Payload::kKeyValue);
    if (!is_forward && round > 1) shift(Stage::kRotateGradients, round, Payload::kKeyValueGradient);
  }
  if (is_forward) {
    copy(Stage::kReturn, {Payload::kOutput});
  } else {
    has_keys ? copy(Stage::kReturn, {Payload::kQueryGradient, Payload::kKeyValueGradient})
             : copy(Stage::kReturn, {Payload::kQueryGradient});
  }
  for (int round = 0; round < num_rounds; ++round) {
    const int key_member = (member - round % num_members + num_members) % num_members;
    result.tasks.push_back({0, round, 0, member, key_member, round == 0 ? ring.own_pairs : ring.other_pairs});
  }
  return result;
}

}  // namespace ballast::scheduler
