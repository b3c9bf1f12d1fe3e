#include "scheduler/plan/messages.h"

#include <memory>
#include <utility>

#include "scheduler/plan/cursor.h"

namespace ballast::scheduler {

namespace {

/// Parcels of one peer are neighbours in the list and make one message; a copy to itself is none.
std::vector<PeerBytes> by_peer(const std::vector<Parcel>& parcels, int Parcel::*peer, int rank, RowBytes bytes) {
  std::vector<PeerBytes> result;
  for (const Parcel& parcel : parcels) {
    if (parcel.*peer == rank) continue;
    if (result.empty() || result.back().peer != parcel.*peer) result.push_back({parcel.*peer, 0});
    result.back().num_bytes += parcel.num_rows * (parcel.payload == Payload::kKeyValueGradient ? bytes.gradient_row : bytes.row);
  }
  return result;
}

}  // namespace

const char* name(Stage stage) {
  switch (stage) {
    case Stage::kDispatch:
      return "dispatch";
    case Stage::kRotate:
      return "rotate";
    case Stage::kRotateGradients:
      return "rotate gradients";
    case Stage::kReturn:
      return "return";
  }
  return "unknown stage";
}

const char* name(Pass pass) { return pass == Pass::kForward ? "forward" : "backward"; }

std::vector<ExchangeMessages> attention_messages(const Plan& plan, int rank, HeadCounts heads,
                                                 const std::vector<int>& node_of_rank, RowBytes bytes) {
  std::vector<std::unique_ptr<const AttentionExpansion>> expansions(plan.micro_batches.size());
  std::vector<ExchangeMessages> result;
  const auto add_pass = [&](int m, Pass pass) {
    const MicroBatch& micro_batch = plan.micro_batches[m];
    if (!expansions[m]) expansions[m] = std::make_unique<AttentionExpansion>(micro_batch, heads, node_of_rank);
    const RankAttention by_use[] = {expansions[m]->rank(rank, pass, KeyValueUse::kOwn),
                                    expansions[m]->rank(rank, pass, KeyValueUse::kForeign)};
    const int num_layers = static_cast<int>(micro_batch.kv_source_layer.size());
    for (int i = 0; i < num_layers; ++i) {
      const int layer = pass == Pass::kForward ? i : num_layers - 1 - i;
      const KeyValueUse use = micro_batch.kv_source_layer[layer] == layer ? KeyValueUse::kOwn : KeyValueUse::kForeign;
      for (const AttentionExchange& exchange : by_use[static_cast<int>(use)].exchanges) {
        ExchangeMessages messages{m,
                                  pass,
                                  layer,
                                  exchange.stage,
                                  exchange.queue,
                                  exchange.round,
                                  {},
                                  {},
                                  expansions[m]->is_cluster_queue(exchange.queue)};
        messages.sends = by_peer(exchange.sends, &Parcel::dst, rank, bytes);
        messages.receives = by_peer(exchange.receives, &Parcel::src, rank, bytes);
        if (!messages.sends.empty() || !messages.receives.empty()) result.push_back(std::move(messages));
      }
    }
  };

  ProgramCursor cursor(plan.ranks[rank]);
  while (const auto next = cursor.next()) {
    const Op& op = cursor[*next].op;
    if (const auto* const forward = std::get_if<Forward>(&op)) add_pass(forward->micro_batch, Pass::kForward);
    if (const auto* const backward = std::get_if<Backward>(&op)) add_pass(backward->micro_batch, Pass::kBackward);
    cursor.finish(*next);
  }
  return result;
}

}  // namespace ballast::scheduler
