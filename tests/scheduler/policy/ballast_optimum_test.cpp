// Small steps of `ballast` beside the best of all placements of whole rings, and one worked by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "scheduler/cost/seconds.h"
#include "scheduler/plan/layout.h"
#include "scheduler/sim/simulator.h"
#include "tests/scheduler/policy/policy_requests.h"

namespace ballast::scheduler {
namespace {

using testing::ElementsAre;
using testing::UnorderedElementsAre;
using testing::VariantWith;

// Most that a step of `ballast` may take, in times of the fastest that the search below finds. With 8 query and 2 key heads on 2
// nodes, a ring over both sends 3 rows a token from each node (keys and values of one head), heads over the nodes 5 (queries,
// outputs, keys and values): `ballast` has heads all the same, which slow cards show.
constexpr double kFactor = 1.05;
constexpr double kFactorOfSlowCards = 1.4;

/// The fastest of all placements of a step on 2 nodes of 2 ranks in which every sequence is one ring of equal shares on any
/// ranks, from the fourth longest on one of one rank, and tokens outside attention are where attention has them or even over all
/// ranks. Time is that of the simulator. No head is cut, so `ballast` can be faster.
class RingSearch {
 public:
  RingSearch(const PlanRequest& request, double limit_seconds)
      : request_(request),
        num_ranks_(request.topology.num_ranks()),
        rates_(cost_rates(request.model, request.topology)),
        plan_(make_plan(request)),
        best_seconds_(limit_seconds),
        attention_seconds_(num_ranks_, 0.0),
        held_(num_ranks_, 0) {
    order_ = plan_.micro_batches[0].sequences;
    std::sort(order_.begin(), order_.end(),
              [&](std::int64_t a, std::int64_t b) { return request_.lengths[a] > request_.lengths[b]; });
    plan_.micro_batches[0].work.clear();
  }

  /// Returns: seconds of the fastest one, or the limit if none is faster than that.
  double run() {
    place(0);
    return best_seconds_;
  }

 private:
  void place(std::size_t i) {
    const double most = *std::max_element(attention_seconds_.begin(), attention_seconds_.end());
    if (most >= best_seconds_) return;
    if (i == order_.size()) {
      simulate_with(Remap::kOff);
      simulate_with(Remap::kCluster);
      return;
    }
    const std::int64_t s = order_[i];
    const std::int64_t cap = request_.options.token_cap_per_rank;
    for (unsigned members = 15; members > 0; --members) {
      // Nodes are alike, and ranks of a node: five sets of ranks are all for the first sequence.
      if (i == 0 && std::popcount(members & 3) < std::popcount(members >> 2)) continue;
      if (i == 0 && ((members & 3) == 2 || members >> 2 == 2)) continue;
      if (i > 2 && !std::has_single_bit(members)) continue;
      Ring ring{s, {}, {}};
      for (int r = 0; r < num_ranks_; ++r) {
        if ((members >> r & 1) != 0) ring.ranks.push_back(r);
      }
      ring.shares = equal_shares(request_.lengths[s], static_cast<int>(ring.ranks.size()));
      const std::vector<double> before = attention_seconds_;
      bool has_room = true;
      const auto chunks = zigzag_chunks(s, ring.shares);
      for (std::size_t m = 0; m < ring.ranks.size(); ++m) {
        const int rank = ring.ranks[m];
        held_[rank] += ring.shares[m];
        has_room = has_room && (cap == 0 || held_[rank] <= cap);
        attention_seconds_[rank] += rates_.pair_seconds * static_cast<double>(num_pairs(chunks[m][0]) + num_pairs(chunks[m][1]));
      }
      plan_.micro_batches[0].work.push_back(ring);
      if (has_room) place(i + 1);
      plan_.micro_batches[0].work.pop_back();
      for (std::size_t m = 0; m < ring.ranks.size(); ++m) held_[ring.ranks[m]] -= ring.shares[m];
      attention_seconds_ = before;
    }
  }

  void simulate_with(Remap remap) {
    std::vector<std::vector<Chunk>> homes(num_ranks_);
    for (const AttentionWork& work : plan_.micro_batches[0].work) {
      const Ring& ring = std::get<Ring>(work);
      const auto chunks = zigzag_chunks(ring.sequence, ring.shares);
      for (std::size_t m = 0; m < ring.ranks.size(); ++m) {
        for (const Chunk& chunk : joined({chunks[m][0], chunks[m][1]})) homes[ring.ranks[m]].push_back(chunk);
      }
    }
    plan_.micro_batches[0].homes = balanced_homes(homes, remap, request_.topology);
    best_seconds_ = std::min(best_seconds_, simulate(plan_, request_.model, request_.topology).makespan_seconds);
  }

  const PlanRequest& request_;
  int num_ranks_;
  CostRates rates_;
  Plan plan_;
  double best_seconds_;
  std::vector<std::int64_t> order_;
  std::vector<double> attention_seconds_;
  std::vector<std::int64_t> held_;
};

/// Steps without a cap, and under caps of 1.1 and 1.5 times the mean of the ranks.
const std::vector<std::int64_t> kSteps[] = {{4432},
                                            {1339, 74},
                                            {8894, 46, 2217},
                                            {3524, 407, 95},
                                            {3847, 4720, 321, 41},
                                            {202, 991, 156, 13648},
                                            {985, 10399, 7103, 81, 153},
                                            {5000, 5000, 5000, 5000, 200}};

PlanRequest step_of(std::size_t i, std::int64_t length_factor = 1) {
  std::vector<std::int64_t> lengths = kSteps[i];
  for (std::int64_t& length : lengths) length *= length_factor;
  const std::int64_t total = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
  PlanRequest request = plan_request("ballast", std::move(lengths), 2, 2);
  constexpr double kCaps[] = {0, 1.1, 1.5};
  request.options.token_cap_per_rank = static_cast<std::int64_t>(std::ceil(kCaps[i % 3] * static_cast<double>(total) / 4));
  return request;
}

/// Is no enumerated placement faster than `ballast` by more than `factor`?
void expect_within(double factor, const PlanRequest& request) {
  const double seconds = simulate(make_plan(request), request.model, request.topology).makespan_seconds;
  const double best = RingSearch(request, seconds / factor).run();
  EXPECT_EQ(best, seconds / factor) << "ballast " << seconds << " s, a placement of whole rings " << best;
}

TEST(BallastOptimum, OfCores) {
  for (std::size_t i = 0; i < std::size(kSteps); ++i) {
    SCOPED_TRACE(i);
    expect_within(kFactor, step_of(i));
  }
}

TEST(BallastOptimum, OfAcceleratorsWithACardForTwo) {
  // The last two steps, of five sequences, take seconds to search here.
  for (std::size_t i = 0; i + 2 < std::size(kSteps); ++i) {
    SCOPED_TRACE(i);
    PlanRequest request = step_of(i, 4);
    for (Node& node : request.topology.nodes) node.nic_bytes_per_second = 25e9;
    number_ranks(request.topology);
    request.topology.intra_node_bytes_per_second = 160e9;
    request.topology.attention_flops_per_second = request.topology.linear_flops_per_second = 187e12;
    request.model.hidden_size = 4096;
    request.model.num_attention_heads = request.model.num_key_value_heads = 32;
    request.model.head_dim = 128;
    request.model.intermediate_size = 11008;
    request.model.element_bytes = 2;
    expect_within(kFactor, request);
  }
}

TEST(BallastOptimum, OfCoresBehindSlowCards) {
  for (std::size_t i = 0; i < std::size(kSteps); ++i) {
    SCOPED_TRACE(i);
    PlanRequest request = step_of(i);
    for (Node& node : request.topology.nodes) node.nic_bytes_per_second = 25e6;
    number_ranks(request.topology);
    expect_within(kFactorOfSlowCards, request);
  }
}

auto ring(std::int64_t sequence, std::vector<int> ranks, std::vector<std::int64_t> shares) {
  return VariantWith<Ring>(Ring{sequence, std::move(ranks), std::move(shares)});
}

TEST(BallastOptimum, WorkedByHand) {
  // Attention alone, in units of half a million pairs: the document of 4000 tokens is 16, each of the four of 2000 is 4. The mean
  // of four ranks is 8. No rank can hold the long one, so it is a ring of the two ranks of one node, 8 each; each rank of the
  // other node computes two short ones whole. Nothing passes the cards.
  PlanRequest request = plan_request("ballast", {2000, 4000, 2000, 2000, 2000}, 2, 2);
  request.topology.linear_flops_per_second = 1e30;
  const MicroBatch micro_batch = make_plan(request).micro_batches[0];
  EXPECT_THAT(micro_batch.work, UnorderedElementsAre(ring(1, {0, 1}, {2000, 2000}), ring(0, {2}, {2000}), ring(2, {3}, {2000}),
                                                     ring(3, {2}, {2000}), ring(4, {3}, {2000})));
  EXPECT_THAT(micro_batch.homes[0], ElementsAre(Chunk{1, 0, 1000}, Chunk{1, 3000, 4000}));
  EXPECT_THAT(micro_batch.homes[1], ElementsAre(Chunk{1, 1000, 3000}));
}

}  // namespace
}  // namespace ballast::scheduler
