#include "scheduler/policy/wlb.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "scheduler/cost/seconds.h"
#include "scheduler/plan/layout.h"
#include "scheduler/policy/pack.h"

namespace ballast::scheduler {

namespace {

constexpr std::int64_t kTileQueries = 128;  ///< queries that a kernel works on at once

/// Documents that run together on one group.
struct Bin {
  std::vector<std::int64_t> sequences;
  std::int64_t tokens = 0;
  double seconds = 0;
};

/// Documents over packs of at most `most_tokens` each. What fits none is added to `waiting`.
std::vector<Bin> fill_bins(const PlacementRequest& request, std::span<const std::int64_t> order, std::int64_t num_bins,
                           std::int64_t most_tokens, std::vector<std::int64_t>& waiting) {
  const CostRates rates = cost_rates(request.model, request.topology);
  std::vector<Bin> bins(num_bins);
  for (const std::int64_t s : order) {
    const std::int64_t length = request.lengths[s];
    auto bin = std::min_element(bins.begin(), bins.end(), [](const Bin& a, const Bin& b) { return a.seconds < b.seconds; });
    if (bin->tokens + length > most_tokens)
      bin = std::min_element(bins.begin(), bins.end(), [](const Bin& a, const Bin& b) { return a.tokens < b.tokens; });
    if (bin->tokens + length > most_tokens) {
      waiting.push_back(s);
      continue;
    }
    bin->sequences.push_back(s);
    bin->tokens += length;
    bin->seconds += rates.sequence_seconds(length);
  }
  // Packs of like work run side by side.
  std::stable_sort(bins.begin(), bins.end(), [](const Bin& a, const Bin& b) { return a.seconds > b.seconds; });
  return bins;
}

using Queries = std::vector<std::vector<Chunk>>;  // by member of the group

/// Zigzag in every document: 2 * members equal chunks, then the tokens that are left over one by one, on to the next member.
Queries cut_documents(std::span<const std::int64_t> sequences, std::span<const std::int64_t> lengths, int num_members) {
  Queries queries(num_members);
  const std::int64_t num_chunks = 2 * static_cast<std::int64_t>(num_members);
  int next = 0;
  for (const std::int64_t s : sequences) {
    const std::int64_t size = lengths[s] / num_chunks;
    for (int i = 0; i < num_members; ++i) {
      append_chunk(queries[i], {s, i * size, (i + 1) * size});
      append_chunk(queries[i], {s, (num_chunks - 1 - i) * size, (num_chunks - i) * size});
    }
    for (std::int64_t at = num_chunks * size; at < lengths[s]; ++at, next = (next + 1) % num_members)
      append_chunk(queries[next], {s, at, at + 1});
  }
  return queries;
}

/// Zigzag in the pack, whatever documents it holds.
Queries cut_pack(std::span<const std::int64_t> sequences, std::span<const std::int64_t> lengths, int num_members) {
  const Pack pack(sequences, lengths);
  Queries queries(num_members);
  const auto positions = zigzag_chunks(0, equal_shares(pack.num_tokens(), num_members));
  for (int i = 0; i < num_members; ++i) {
    for (const Chunk& part : positions[i]) {
      for (const Chunk& chunk : pack.cut(part.begin, part.end)) append_chunk(queries[i], chunk);
    }
  }
  return queries;
}

/// Query and key pairs of the slowest member, every piece rounded up to whole tiles of queries.
double kernel_pairs(const Queries& queries) {
  double most = 0;
  for (const std::vector<Chunk>& chunks : queries) {
    double pairs = 0;
    for (const Chunk& chunk : chunks) {
      const std::int64_t rounded = (chunk.end - chunk.begin + kTileQueries - 1) / kTileQueries * kTileQueries;
      pairs += static_cast<double>(num_pairs({chunk.sequence, chunk.begin, chunk.begin + rounded}));
    }
    most = std::max(most, pairs);
  }
  return most;
}

AllGather gather_pack(const PlacementRequest& request, const Bin& bin, int first_rank, int num_members) {
  AllGather gather{bin.sequences, std::vector<int>(num_members), {}};
  std::iota(gather.ranks.begin(), gather.ranks.end(), first_rank);
  gather.queries = cut_documents(bin.sequences, request.lengths, num_members);
  Queries as_pack = cut_pack(bin.sequences, request.lengths, num_members);
  if (kernel_pairs(as_pack) < kernel_pairs(gather.queries)) gather.queries = std::move(as_pack);
  return gather;
}

/// Packs [begin, end) of `bins` on consecutive groups.
Placement place_bins(const PlacementRequest& request, std::span<const Bin> bins, int num_members) {
  Placement placement;
  for (std::size_t g = 0; g < bins.size(); ++g) {
    if (!bins[g].sequences.empty())
      placement.work.push_back(gather_pack(request, bins[g], static_cast<int>(g) * num_members, num_members));
  }
  return placement;
}

std::int64_t longest(const PlacementRequest& request) {
  std::int64_t result = 0;
  for (const std::int64_t s : request.sequences) result = std::max(result, request.lengths[s]);
  return result;
}

/// Can a group of that many ranks be one of several equal ones, each large enough for the longest document?
bool is_group_size(const PlacementRequest& request, int num_members, std::int64_t longest_tokens) {
  const int num_ranks = request.topology.num_ranks();
  if (num_ranks % num_members != 0) return false;
  const std::int64_t tokens = std::min(request.token_budget(), request.token_cap) * num_members;
  return num_members == num_ranks || tokens >= longest_tokens;
}

}  // namespace

Placement place_wlb(const PlacementRequest& request) {
  require_room(request, "wlb");
  const int num_ranks = request.topology.num_ranks();
  const std::vector<std::int64_t> order = longest_first_order(request);
  const std::int64_t longest_tokens = longest(request);
  for (int members = 1;; ++members) {
    if (!is_group_size(request, members, longest_tokens)) continue;
    std::vector<std::int64_t> waiting;
    const std::vector<Bin> bins = fill_bins(request, order, num_ranks / members, request.token_cap * members, waiting);
    // One group of all ranks holds everything.
    if (waiting.empty()) return place_bins(request, bins, members);
  }
}

std::vector<FormedMicroBatch> form_wlb(const PlacementRequest& request) {
  const int num_ranks = request.topology.num_ranks();
  const std::int64_t longest_tokens = longest(request);
  if ((longest_tokens + num_ranks - 1) / num_ranks > request.token_cap) {
    throw InfeasiblePlan(
        fmt::format("policy wlb: a document of {} tokens needs {} on each of {} ranks, but token_cap_per_rank is {}; raise it",
                    longest_tokens, (longest_tokens + num_ranks - 1) / num_ranks, num_ranks, request.token_cap));
  }
  int members = 1;
  while (!is_group_size(request, members, longest_tokens)) ++members;
  const std::int64_t num_groups = num_ranks / members;
  const std::int64_t tokens_per_micro_batch = std::min(request.token_budget(), request.token_cap) * num_ranks;

  std::vector<FormedMicroBatch> formed;
  std::vector<std::int64_t> order = longest_first_order(request);
  while (!order.empty()) {
    std::int64_t tokens = 0;
    for (const std::int64_t s : order) tokens += request.lengths[s];
    const std::int64_t num_micro_batches = (tokens + tokens_per_micro_batch - 1) / tokens_per_micro_batch;
    std::vector<std::int64_t> waiting;
    const std::vector<Bin> bins = fill_bins(request, order, num_micro_batches * num_groups, request.token_cap * members, waiting);
    for (std::int64_t m = 0; m < num_micro_batches; ++m) {
      const std::span<const Bin> own(bins.data() + m * num_groups, num_groups);
      FormedMicroBatch micro_batch;
      for (const Bin& bin : own)
        micro_batch.sequences.insert(micro_batch.sequences.end(), bin.sequences.begin(), bin.sequences.end());
      if (micro_batch.sequences.empty()) continue;
      micro_batch.placement = place_bins(request, own, members);
      formed.push_back(std::move(micro_batch));
    }
    order = std::move(waiting);
  }
  return formed;
}

}  // namespace ballast::scheduler
