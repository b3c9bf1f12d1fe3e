#include "scheduler/make_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <span>

#include "scheduler/plan/expand.h"
#include "scheduler/plan/kv_sources.h"
#include "scheduler/plan/layout.h"
#include "scheduler/plan/validate.h"
#include "scheduler/policy/registry.h"

namespace ballast::scheduler {

namespace {

/// Homes where attention has the tokens. Head rings and tasks have no such place: their policies give homes.
std::vector<std::vector<Chunk>> homes_of_work(const std::vector<AttentionWork>& work, int num_ranks) {
  std::vector<std::vector<Chunk>> homes(num_ranks);
  for (const AttentionWork& piece : work) {
    if (const auto* ring = std::get_if<Ring>(&piece)) {
      append_chunks(*ring, homes);
    } else if (const auto* gather = std::get_if<AllGather>(&piece)) {
      for (std::size_t i = 0; i < gather->ranks.size(); ++i) {
        for (const Chunk& chunk : gather->queries[i]) append_chunk(homes[gather->ranks[i]], chunk);
      }
    } else if (const auto* all_to_all = std::get_if<HeadAllToAll>(&piece)) {
      for (std::size_t i = 0; i < all_to_all->ranks.size(); ++i) {
        for (const Chunk& chunk : all_to_all->tokens[i]) append_chunk(homes[all_to_all->ranks[i]], chunk);
      }
    }
  }
  return homes;
}

/// Throws: InfeasiblePlan for a rank without a card that would have to send over nodes. Cost: none where every node has cards;
/// else the expansion of the micro-batches. Input: a valid plan.
void require_cards(const Plan& plan, const ModelShape& model, const Topology& topology) {
  const std::vector<int>& group_of_rank = topology.nic_group_of_rank;
  if (topology.num_nodes() == 1 || *std::min_element(group_of_rank.begin(), group_of_rank.end()) >= 0) return;
  const HeadCounts heads{static_cast<int>(model.num_attention_heads), static_cast<int>(model.num_key_value_heads)};
  for (std::size_t m = 0; m < plan.micro_batches.size(); ++m) {
    const AttentionExpansion expansion(plan.micro_batches[m], heads, topology.node_of_rank);
    for (int r = 0; r < topology.num_ranks(); ++r) {
      if (group_of_rank[r] >= 0) continue;
      const auto check = [&](const Parcel& parcel, int peer) {
        if (!topology.is_between_nodes(r, peer)) return;
        const int n = topology.node_of_rank[r];
        throw InfeasiblePlan(
            fmt::format("policy {}: micro-batch {} gives sequence {} to rank {} of node {} and rank {} of node {}, but node {} "
                        "has no network "
                        "card; give it num_nics, remap inside nodes or not at all, shorten the sequence, or choose a policy that "
                        "keeps it in a "
                        "node",
                        plan.policy, m, parcel.chunk.sequence, r, n, peer, topology.node_of_rank[peer], n));
      };
      for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
        for (const AttentionExchange& exchange : expansion.rank(r, pass).exchanges) {
          for (const Parcel& parcel : exchange.sends) check(parcel, parcel.dst);
          for (const Parcel& parcel : exchange.receives) check(parcel, parcel.src);
        }
      }
    }
  }
}

}  // namespace

std::vector<std::vector<std::int64_t>> micro_batch_runs(const std::vector<std::int64_t>& lengths,
                                                        std::int64_t tokens_per_micro_batch) {
  std::vector<std::vector<std::int64_t>> runs(1);
  std::int64_t tokens = 0;
  for (std::size_t s = 0; s < lengths.size(); ++s) {
    if (tokens_per_micro_batch > 0 && !runs.back().empty() && tokens + lengths[s] > tokens_per_micro_batch) {
      runs.emplace_back();
      tokens = 0;
    }
    runs.back().push_back(static_cast<std::int64_t>(s));
    tokens += lengths[s];
  }
  return runs;
}

RankProgram training_program(int num_micro_batches) {
  RankProgram program;
  const auto append = [&](const Op& op) {
    Instruction instruction{op, {}};
    if (!program.empty()) instruction.after.push_back(static_cast<int>(program.size()) - 1);
    program.push_back(std::move(instruction));
  };
  for (int m = 0; m < num_micro_batches; ++m) {
    append(Forward{m});
    append(Backward{m});
  }
  append(ReduceGradients{});
  append(UpdateParameters{});
  append(GatherParameters{});
  return program;
}

Plan make_plan(const PlanRequest& request) {
  const Policy& policy = find_policy(request.options.policy);
  std::int64_t total = 0, longest = 0;
  for (std::size_t s = 0; s < request.lengths.size(); ++s) {
    if (request.lengths[s] < 1 || request.lengths[s] > kMostTokens - total) {
      throw std::invalid_argument(
          fmt::format("lengths: sequence {} has {} tokens after {} of the others; wanted at least 1, and at most {} in all. "
                      "Shorten or leave out "
                      "sequences, or lower tokens_per_step",
                      s, request.lengths[s], total, kMostTokens));
    }
    total += request.lengths[s];
    longest = std::max(longest, request.lengths[s]);
  }
  if (request.options.token_cap_per_rank < 0 || request.options.tokens_per_micro_batch < 0 ||
      request.options.tokens_per_rank < 0) {
    throw std::invalid_argument(
        fmt::format("scheduler: token_cap_per_rank {}, tokens_per_micro_batch {} and tokens_per_rank {} must not be negative",
                    request.options.token_cap_per_rank, request.options.tokens_per_micro_batch, request.options.tokens_per_rank));
  }
  // More than there can be is as good as all of them, and does not overflow.
  const std::int64_t cap = std::min(request.options.token_cap_per_rank, kMostTokens);
  const std::int64_t tokens_per_micro_batch = std::min(request.options.tokens_per_micro_batch, kMostTokens);
  Plan plan;
  plan.step = request.step;
  plan.policy = policy.name;
  plan.lengths = request.lengths;
  const int num_ranks = request.topology.num_ranks();
  if (num_ranks < 1) throw std::invalid_argument("cluster: no ranks to plan for");
  const bool forms = request.planner_mode && policy.form_micro_batches != nullptr;
  const auto placement_request = [&](std::span<const std::int64_t> sequences) {
    std::int64_t tokens_per_rank = std::min(request.options.tokens_per_rank, kMostTokens);
    // A step that the policy has yet to cut says nothing about the size of a micro-batch; a longer sequence is one of its own.
    if (tokens_per_rank == 0 && forms && tokens_per_micro_batch > 0) {
      tokens_per_rank = (std::max(tokens_per_micro_batch, longest) + num_ranks - 1) / num_ranks;
    }
    return PlacementRequest{request.lengths, sequences, request.topology, request.model, cap > 0 ? cap : kMostTokens,
                            tokens_per_rank};
  };
  std::vector<FormedMicroBatch> formed;
  if (forms) {
    std::vector<std::int64_t> all(request.lengths.size());
    std::iota(all.begin(), all.end(), std::int64_t{0});
    formed = policy.form_micro_batches(placement_request(all));
    if (formed.empty()) formed.emplace_back();
  } else {
    for (std::vector<std::int64_t>& run : micro_batch_runs(request.lengths, tokens_per_micro_batch)) {
      Placement placement = policy.place(placement_request(run));
      formed.push_back({std::move(run), std::move(placement)});
    }
  }
  for (FormedMicroBatch& piece : formed) {
    MicroBatch micro_batch;
    Placement& placement = piece.placement;
    if (placement.homes.empty()) {
      const std::vector<std::vector<Chunk>> homes = homes_of_work(placement.work, num_ranks);
      micro_batch.homes = balanced_homes(homes, request.options.remap, request.topology);
    } else {
      micro_batch.homes = std::move(placement.homes);
    }
    if (!placement.charged_tokens.empty()) {
      if (plan.charged_tokens.empty()) plan.charged_tokens = request.lengths;
      for (std::size_t i = 0; i < piece.sequences.size(); ++i) {
        plan.charged_tokens.at(piece.sequences[i]) = placement.charged_tokens[i];
      }
    }
    micro_batch.sequences = std::move(piece.sequences);
    std::sort(micro_batch.sequences.begin(), micro_batch.sequences.end());
    micro_batch.work = std::move(placement.work);
    micro_batch.kv_source_layer = kv_sources(request.model.num_layers);
    plan.is_routed = request.options.is_routed.value_or(plan.is_routed || placement.is_routed);
    plan.micro_batches.push_back(std::move(micro_batch));
  }
  plan.ranks.assign(num_ranks, training_program(static_cast<int>(plan.micro_batches.size())));
  const std::int64_t held_cap = forms && !policy.keeps_cap_when_forming ? 0 : cap;
  validate(plan, {num_ranks, request.model.num_layers, held_cap, static_cast<int>(request.model.num_attention_heads)});
  require_cards(plan, request.model, request.topology);
  return plan;
}

}  // namespace ballast::scheduler
