#include "scheduler/policy/zeppelin.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <set>
#include <utility>

#include "scheduler/cost/seconds.h"
#include "scheduler/plan/layout.h"

namespace ballast::scheduler {

namespace {

/// A later pair of thresholds, which cuts finer, has to gain more than rounding.
constexpr double kBetter = 1 - 1e-9;

/// What a node or a rank has been given.
struct Bin {
  std::int64_t free_tokens = 0;
  double seconds = 0;
};

/// Bins by load: the least-loaded with room, and the k least-loaded ones.
class Bins {
 public:
  explicit Bins(std::vector<Bin> bins) : bins_(std::move(bins)) {
    for (std::size_t i = 0; i < bins_.size(); ++i) by_load_.emplace(bins_[i].seconds, static_cast<int>(i));
  }
  /// -1 if none has room.
  int least_loaded(std::int64_t tokens) const {
    for (const auto& [seconds, i] : by_load_) {
      if (bins_[i].free_tokens >= tokens) return i;
    }
    return -1;
  }
  std::vector<int> order() const {
    std::vector<int> result;
    for (const auto& entry : by_load_) result.push_back(entry.second);
    return result;
  }
  std::int64_t free_tokens(int i) const { return bins_[i].free_tokens; }
  void add(int i, std::int64_t tokens, double seconds) {
    by_load_.erase({bins_[i].seconds, i});
    bins_[i].free_tokens -= tokens;
    bins_[i].seconds += seconds;
    by_load_.emplace(bins_[i].seconds, i);
  }
  double largest() const { return by_load_.empty() ? 0 : by_load_.rbegin()->first; }

 private:
  std::vector<Bin> bins_;
  std::set<std::pair<double, int>> by_load_;
};

/// Nodes or ranks, of `most`, that a sequence above the threshold is cut over at least: two, and enough for parts within the
/// threshold.
int least_parts(std::int64_t length, std::int64_t threshold, int most) {
  const std::int64_t parts = threshold > 0 ? (length + threshold - 1) / threshold : most;
  return static_cast<int>(std::min<std::int64_t>(std::max<std::int64_t>(parts, 2), most));
}

/// What is cut over nodes and what stays inside one.
struct NodeStep {
  std::vector<Ring> rings;
  std::vector<std::vector<std::int64_t>> sequences;  ///< by node: those that stay inside, longest first
};

struct Candidate {
  std::vector<AttentionWork> work;
  double seconds = 0;
};

class Planner {
 public:
  explicit Planner(const PlacementRequest& request)
      : request_(request),
        topology_(request.topology),
        rates_(cost_rates(request.model, request.topology)),
        order_(longest_first_order(request)) {}

  Placement run() {
    Placement placement;
    placement.is_routed = true;
    if (order_.empty()) return placement;
    std::optional<Candidate> best;
    for (const std::int64_t t1 : node_thresholds()) {
      for (const std::int64_t t2 : rank_thresholds()) {
        std::optional<Candidate> candidate = place(t1, t2);
        if (candidate && (!best || candidate->seconds < kBetter * best->seconds)) best = std::move(candidate);
      }
    }
    if (best) {
      placement.work = std::move(best->work);
      return placement;
    }
    std::vector<int> all(topology_.num_ranks());
    std::iota(all.begin(), all.end(), 0);
    for (const std::int64_t s : order_) {
      placement.work.push_back(Ring{s, all, equal_shares(request_.lengths[s], topology_.num_ranks())});
    }
    require_cap(request_, placement.work, "zeppelin",
                "no thresholds find room for rings of equal shares; raise the cap, or choose a policy with unequal shares");
    return placement;
  }

 private:
  /// Shortest sequence worth a ring of `num_ranks`: t tokens of each hide their transfer when t >= e * (h_kv / h) * F / B.
  std::int64_t shortest_worth(int num_ranks, double bytes_per_second) const {
    const double square_seconds = kForwardShareOfAttention * rates_.layer_pair_seconds / 2;
    const double tokens = rates_.key_value_bytes / bytes_per_second / square_seconds;
    return static_cast<std::int64_t>(std::min(num_ranks * tokens, 1e15));
  }
  /// Tokens that a rank may be thought to hold; without a cap, ten percent above its share.
  std::int64_t rank_capacity() const {
    const std::int64_t budget = request_.token_budget();
    return std::min(request_.token_cap, budget + budget / 10);
  }
  int largest_node() const {
    int result = 0;
    for (const Node& node : topology_.nodes) result = std::max(result, node.num_ranks);
    return result;
  }
  std::vector<std::int64_t> node_thresholds() const {
    const std::int64_t capacity = largest_node() * rank_capacity();
    const std::vector<double> by_node = node_bytes_per_second(topology_);
    const double bytes_per_second = *std::max_element(by_node.begin(), by_node.end());
    const std::int64_t worth = bytes_per_second > 0 ? shortest_worth(2 * largest_node(), bytes_per_second) : capacity;
    return distinct({capacity, capacity / 2, capacity / 4, worth, worth / 2});
  }
  std::vector<std::int64_t> rank_thresholds() const {
    const std::int64_t capacity = rank_capacity();
    return distinct({capacity, capacity / 2, capacity / 4, shortest_worth(2, rates_.intra_bytes_per_second)});
  }
  /// Thresholds at or above the longest sequence are one.
  std::vector<std::int64_t> distinct(std::vector<std::int64_t> thresholds) const {
    std::vector<std::int64_t> result;
    for (std::int64_t threshold : thresholds) {
      threshold = std::min(threshold, request_.lengths[order_.front()]);
      if (std::find(result.begin(), result.end(), threshold) == result.end()) result.push_back(threshold);
    }
    return result;
  }

  std::optional<Candidate> place(std::int64_t t1, std::int64_t t2) const {
    while (true) {
      std::optional<NodeStep> step = place_on_nodes(t1);
      if (step) {
        if (std::optional<Candidate> candidate = place_on_ranks(*step, t2)) return candidate;
      }
      if (t1 == 0 || topology_.num_nodes() == 1) return std::nullopt;
      t1 /= 2;
    }
  }

  std::optional<NodeStep> place_on_nodes(std::int64_t t1) const {
    const int num_nodes = topology_.num_nodes();
    NodeStep step;
    step.sequences.resize(num_nodes);
    if (num_nodes == 1) {
      step.sequences[0] = order_;
      return step;
    }
    std::vector<Bin> rooms;
    for (const Node& node : topology_.nodes) rooms.push_back({node.num_ranks * request_.token_cap, 0});
    Bins nodes(std::move(rooms));
    for (const std::int64_t s : order_) {
      const std::int64_t length = request_.lengths[s];
      const double seconds = rates_.sequence_seconds(length);
      if (length <= t1) {
        const int n = nodes.least_loaded(length);
        if (n < 0) return std::nullopt;
        nodes.add(n, length, seconds / topology_.nodes[n].num_ranks);
        step.sequences[n].push_back(s);
        continue;
      }
      std::vector<int> chosen = nodes.order();
      int num_ring_ranks = 0, num_chosen = 0;
      std::int64_t least_room = request_.token_cap;  // free tokens of a rank, over the nodes chosen so far
      bool has_room = false;
      for (const int n : chosen) {
        num_ring_ranks += topology_.nodes[n].num_ranks;
        least_room = std::min(least_room, nodes.free_tokens(n) / topology_.nodes[n].num_ranks);
        ++num_chosen;
        if (num_chosen >= least_parts(length, t1, num_nodes) && least_room >= (length + num_ring_ranks - 1) / num_ring_ranks) {
          has_room = true;
          break;
        }
      }
      if (!has_room) return std::nullopt;
      chosen.resize(num_chosen);
      std::sort(chosen.begin(), chosen.end());
      Ring ring{s, {}, equal_shares(length, num_ring_ranks)};
      const std::int64_t share = (length + num_ring_ranks - 1) / num_ring_ranks;
      for (const int n : chosen) {
        const Node& node = topology_.nodes[n];
        for (int i = 0; i < node.num_ranks; ++i) ring.ranks.push_back(node.first_rank + i);
        nodes.add(n, node.num_ranks * share, seconds / num_ring_ranks);
      }
      step.rings.push_back(std::move(ring));
    }
    return step;
  }

  std::optional<Candidate> place_on_ranks(const NodeStep& step, std::int64_t t2) const {
    std::vector<Bin> all(topology_.num_ranks(), Bin{request_.token_cap, 0});
    for (const Ring& ring : step.rings) {
      const double seconds = rates_.sequence_seconds(request_.lengths[ring.sequence]) / static_cast<double>(ring.ranks.size());
      for (std::size_t i = 0; i < ring.ranks.size(); ++i) {
        all[ring.ranks[i]].free_tokens -= ring.shares[i];
        all[ring.ranks[i]].seconds += seconds;
      }
    }
    Candidate candidate;
    for (const Ring& ring : step.rings) candidate.work.emplace_back(ring);
    std::vector<AttentionWork> whole;
    for (int n = 0; n < topology_.num_nodes(); ++n) {
      const Node& node = topology_.nodes[n];
      const std::vector<Bin> bins(all.begin() + node.first_rank, all.begin() + node.first_rank + node.num_ranks);
      std::vector<Ring> rings;
      std::int64_t threshold = t2;
      double seconds = 0;
      while (!place_in_node(step.sequences[n], bins, node.first_rank, threshold, rings, seconds)) {
        if (threshold == 0 || node.num_ranks == 1) return std::nullopt;
        threshold /= 2;
      }
      candidate.seconds = std::max(candidate.seconds, seconds);
      for (Ring& ring : rings) {
        std::vector<AttentionWork>& zone = ring.ranks.size() > 1 ? candidate.work : whole;
        zone.emplace_back(std::move(ring));
      }
    }
    candidate.work.insert(candidate.work.end(), whole.begin(), whole.end());
    return candidate;
  }

  /// Returns: false where a sequence finds no room.
  bool place_in_node(const std::vector<std::int64_t>& sequences, const std::vector<Bin>& bins, int first_rank,
                     std::int64_t threshold, std::vector<Ring>& rings, double& seconds) const {
    Bins ranks(bins);
    rings.clear();
    for (const std::int64_t s : sequences) {
      const std::int64_t length = request_.lengths[s];
      const double all_seconds = rates_.sequence_seconds(length);
      if (length <= threshold || bins.size() == 1) {
        const int r = ranks.least_loaded(length);
        if (r < 0) return false;
        ranks.add(r, length, all_seconds);
        rings.push_back({s, {first_rank + r}, {length}});
        continue;
      }
      std::vector<int> chosen = ranks.order();
      std::int64_t least_room = request_.token_cap;
      int degree = 0;
      for (int k = 1; k <= static_cast<int>(chosen.size()); ++k) {
        least_room = std::min(least_room, ranks.free_tokens(chosen[k - 1]));
        if (k >= least_parts(length, threshold, static_cast<int>(bins.size())) && least_room >= (length + k - 1) / k) {
          degree = k;
          break;
        }
      }
      if (degree == 0) return false;
      chosen.resize(degree);
      std::sort(chosen.begin(), chosen.end());
      Ring ring{s, {}, equal_shares(length, degree)};
      for (int i = 0; i < degree; ++i) {
        ring.ranks.push_back(first_rank + chosen[i]);
        ranks.add(chosen[i], ring.shares[i], all_seconds / degree);
      }
      rings.push_back(std::move(ring));
    }
    seconds = ranks.largest();
    return true;
  }

  const PlacementRequest& request_;
  const Topology& topology_;
  CostRates rates_;
  std::vector<std::int64_t> order_;
};

}  // namespace

Placement place_zeppelin(const PlacementRequest& request) {
  require_room(request, "zeppelin");
  return Planner(request).run();
}

}  // namespace ballast::scheduler
