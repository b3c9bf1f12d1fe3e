#include "scheduler/policy/ballast.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <queue>
#include <tuple>

#include "scheduler/cost/seconds.h"
#include "scheduler/plan/layout.h"
#include "scheduler/policy/node_placement.h"
#include "scheduler/policy/room_placement.h"
#include "scheduler/policy/water_fill.h"

namespace ballast::scheduler {

namespace {

/// One combination of thresholds.
struct Try {
  double cut_fraction;  ///< cut what costs more than this part of a node's share of the step
  /// Largest work of a unit (a head, or a block of its queries) as a part of the larger of 0.8 * mean cut attention of a node and
  /// 0.12 of a node's share; 0: 0.12 of a node's share.
  double unit_fraction;
  bool is_wide;       ///< spread each sequence over all nodes instead of as few as possible
  bool giants_first;  ///< place the units of the largest sequences before the whole ones
};

constexpr Try kTries[] = {
    {1, 0, false, false},    {1, 0, false, true},       {1, 1.4, false, false},  {1, 0, true, false},
    {1, 1.4, true, true},    {1, 0.7, true, false},     {0.85, 0, false, false}, {0.85, 1.4, false, false},
    {0.7, 0, false, false},  {0.7, 1.4, false, false},  {0.55, 0, false, false}, {0.55, 1.4, false, false},
    {0.4, 0, false, false},  {0.4, 1.4, false, false},  {0.25, 0, false, false}, {0.25, 1.4, false, false},
    {0.15, 0, false, false}, {0.15, 1.4, false, false},
};
constexpr double kGoodScore = 1.01;  ///< stop at once
constexpr double kFairScore = 1.03;  ///< stop after kFairTries
constexpr int kFairTries = 5;
constexpr int kMaxTries = 8;
constexpr int kMaxTriesSmall = 18;  ///< up to kSmallCluster nodes
constexpr int kSmallCluster = 64;
constexpr int kFewNodes = 2;
/// A node should not hold more, in means of a rank: with even tokens attention is even too, and the way of a token through both
/// is short. If no try is fair with it, nodes may hold more, in steps, up to what the cap allows.
constexpr double kEvenTokens = 1.08;
constexpr double kMoreUneven = 1.6;    ///< times what is above the mean, a step
constexpr double kUnevenPrice = 0.3;   ///< of a score, for every mean of a rank that a node may hold more: waits, simulated
constexpr double kHomeWire = 0.15;     ///< of a layer's forward time: what homes of one node may send, if others have room
constexpr double kMoreHomeWire = 1.5;  ///< times that, a step
constexpr int kHomeWireSteps = 16;     ///< then without limit
constexpr double kRankRoom = 0.02;     ///< of a rank above its node
constexpr double kRounding = 0.006;    ///< of the mean: shares and halves of tokens are rounded
constexpr double kSmallUnit = 0.12;    ///< of a node's share
constexpr double kGiantUnit = 0.6;     ///< of a node's share, when giants go first
constexpr double kGiantHead = 0.25;    ///< a sequence is a giant when one head exceeds this part of a node's share
constexpr std::int64_t kShortestCut = 2048;

/// Consecutive units of a cut sequence on one node.
struct Units {
  int cut;
  std::int64_t begin;
  std::int64_t count;
};

struct Cut {
  std::int64_t sequence;
  double tokens;
  std::int64_t num_blocks;  ///< query blocks of each head
  double unit_seconds;
  std::int64_t given = 0;
  std::vector<std::int64_t> heads_of_rank;  ///< of its one node; empty: rings inside nodes
};

/// Tokens of a cut sequence whose home is that node.
struct Stay {
  int node;
  std::int64_t tokens;
};

struct NodeState {
  std::vector<std::int64_t> sequences;
  double tokens = 0;       ///< of whole sequences
  double seconds = 0;      ///< of whole sequences
  double cut_seconds = 0;  ///< attention of units given
  double cut_tokens = 0;   ///< memory of units given
  double home_tokens = 0;
  std::vector<Units> units;
};

struct Candidate {
  std::vector<NodeState> nodes;
  std::vector<Cut> cuts;
  double score = 0;
  double rank_cap = 0;
};

class Planner {
 public:
  explicit Planner(const PlacementRequest& request)
      : request_(request),
        topology_(request.topology),
        rates_(cost_rates(request.model, request.topology)),
        card_bytes_per_second_(node_bytes_per_second(request.topology)),
        order_(longest_first_order(request)),
        num_heads_(std::max<std::int64_t>(1, request.model.num_attention_heads)) {
    square_seconds_ = rates_.layer_pair_seconds / 2;
    token_seconds_ = rates_.layer_token_seconds;
    for (const std::int64_t s : order_) {
      total_tokens_ += tokens_of(s);
      total_seconds_ += seconds_of(s);
    }
    const double num_ranks = topology_.num_ranks();
    rank_tokens_ = total_tokens_ / num_ranks;
    rank_seconds_ = total_seconds_ / num_ranks;
    for (const Node& node : topology_.nodes) largest_node_ = std::max(largest_node_, node.num_ranks);
    may_cut_ = topology_.num_nodes() > 1 && *std::min_element(card_bytes_per_second_.begin(), card_bytes_per_second_.end()) > 0;
  }

  /// None if what was found exceeds the cap.
  std::optional<Placement> run() {
    if (order_.empty()) return Placement{};
    // Rounding may take half of the slack at most.
    const double cap = static_cast<double>(request_.token_cap);
    const double largest_cap = cap - std::min(kRounding * rank_tokens_, std::max(0.0, (cap - rank_tokens_) / 2));
    std::optional<Candidate> best;
    for (double excess = kEvenTokens - 1;; excess *= kMoreUneven) {
      node_cap_ = std::min(largest_cap, (1 + excess) * rank_tokens_);
      const double price = kUnevenPrice * (node_cap_ / rank_tokens_ - kEvenTokens);
      if (best && best->score <= 1 + price) break;  // without its price nothing scores below 1
      Candidate candidate = best_try();
      candidate.score += price;
      candidate.rank_cap = std::min(largest_cap, node_cap_ + kRankRoom * rank_tokens_);
      if (!best || candidate.score < best->score) best = std::move(candidate);
      if (best->score <= kFairScore || node_cap_ == largest_cap) break;
    }
    return finish(*best);
  }

 private:
  Candidate best_try() {
    Candidate best;
    const bool is_small = topology_.num_nodes() <= kSmallCluster;
    int num_tries = 0;
    for (const Try& attempt : kTries) {
      if (attempt.giants_first && !has_giants()) continue;
      Candidate candidate = place(attempt);
      if (num_tries == 0 || candidate.score < best.score) best = std::move(candidate);
      ++num_tries;
      if (best.score <= kGoodScore || (num_tries >= kFairTries && best.score <= kFairScore) ||
          num_tries >= (is_small ? kMaxTriesSmall : kMaxTries) || topology_.num_nodes() == 1) {
        break;
      }
    }
    return best;
  }

  double tokens_of(std::int64_t s) const { return static_cast<double>(request_.lengths[s]); }
  double seconds_of(std::int64_t s) const { return (square_seconds_ * tokens_of(s) + token_seconds_) * tokens_of(s); }
  int ranks_of(int n) const { return topology_.nodes[n].num_ranks; }
  /// What a node of the largest size should do.
  double node_seconds() const { return rank_seconds_ * largest_node_; }
  /// Without experts, tokens of other sequences go on to the next layer while messages are on their way.
  bool is_synchronous() const { return request_.model.num_experts > 0; }
  bool has_giants() const {
    const double longest = tokens_of(order_.front());
    return square_seconds_ * longest * longest / static_cast<double>(num_heads_) > kGiantHead * node_seconds();
  }

  Candidate place(const Try& attempt) {
    Candidate candidate;
    candidate.nodes.resize(topology_.num_nodes());
    std::size_t num_cut = 0;
    double cut_tokens = 0;
    double limit = node_cap_;  // of whole tokens per rank
    if (may_cut_) {
      const auto cut_next = [&] { cut_tokens += tokens_of(order_[num_cut++]); };
      while (num_cut < order_.size() && (tokens_of(order_[num_cut]) > node_cap_ * largest_node_ ||
                                         seconds_of(order_[num_cut]) > attempt.cut_fraction * node_seconds())) {
        cut_next();
      }
      limit = whole_limit(cut_tokens, 0.1);
      while (num_cut < order_.size() && tokens_of(order_[num_cut]) > 0.6 * limit * largest_node_ &&
             request_.lengths[order_[num_cut]] > kShortestCut) {
        cut_next();
        limit = whole_limit(cut_tokens, 0.1);
      }
    }
    double cut_seconds = 0;
    for (std::size_t i = 0; i < num_cut; ++i) cut_seconds += square_seconds_ * tokens_of(order_[i]) * tokens_of(order_[i]);
    const double unit_limit =
        attempt.unit_fraction == 0
            ? kSmallUnit * node_seconds()
            : attempt.unit_fraction * std::max(0.8 * cut_seconds / topology_.num_nodes(), kSmallUnit * node_seconds());
    for (std::size_t i = 0; i < num_cut; ++i) add_cut(candidate, order_[i], unit_limit);
    std::size_t num_placed = 0;
    if (attempt.giants_first) {
      double giant_tokens = 0;
      num_placed = place_giants(candidate, giant_tokens);
      limit = whole_limit(cut_tokens - giant_tokens, 0.03);
    }
    std::int64_t violations = 0;
    place_whole(candidate, num_cut, limit, violations);
    give_units(candidate, num_placed, attempt.is_wide, violations);
    settle_homes(candidate, cut_tokens, violations);
    candidate.score = score(candidate) * static_cast<double>(1 + violations);
    return candidate;
  }

  /// Whole tokens per rank that leave room for the shares of cut sequences.
  double whole_limit(double cut_tokens, double smallest_room) const {
    const double num_ranks = topology_.num_ranks();
    const double whole = (total_tokens_ - cut_tokens) / num_ranks;
    const double room = std::max(1.2 * cut_tokens / num_ranks, cut_tokens > 0 ? smallest_room * rank_tokens_ : 0);
    return std::min(node_cap_, std::max(1.02 * whole + 0.01 * rank_tokens_, node_cap_ - room));
  }

  void add_cut(Candidate& candidate, std::int64_t s, double unit_limit) {
    Cut cut{s, tokens_of(s), 1, 0, 0, {}};
    const double head_seconds = square_seconds_ * cut.tokens * cut.tokens / static_cast<double>(num_heads_);
    if (head_seconds > unit_limit) cut.num_blocks = static_cast<std::int64_t>(head_seconds / unit_limit) + 1;
    cut.num_blocks = std::min<std::int64_t>(cut.num_blocks, std::max<std::int64_t>(1, request_.lengths[s] / 2));
    cut.unit_seconds = head_seconds / static_cast<double>(cut.num_blocks);
    candidate.cuts.push_back(cut);
  }

  /// Tokens that `count` units from `begin` hold: queries and outputs of the units, keys and values of every head they touch.
  double unit_tokens(const Cut& cut, std::int64_t begin, std::int64_t count) const {
    const double heads = static_cast<double>(num_heads_);
    const std::int64_t touched = (begin + count - 1) / cut.num_blocks - begin / cut.num_blocks + 1;
    return cut.tokens * (static_cast<double>(count) / (2 * heads * static_cast<double>(cut.num_blocks)) +
                         static_cast<double>(touched) / (2 * heads));
  }

  void give(Candidate& candidate, int n, int cut_index, std::int64_t count) {
    Cut& cut = candidate.cuts[cut_index];
    NodeState& node = candidate.nodes[n];
    node.cut_seconds += static_cast<double>(count) * cut.unit_seconds;
    node.cut_tokens += unit_tokens(cut, cut.given, count);
    if (!node.units.empty() && node.units.back().cut == cut_index &&
        node.units.back().begin + node.units.back().count == cut.given) {
      node.units.back().count += count;
    } else {
      node.units.push_back({cut_index, cut.given, count});
    }
    cut.given += count;
  }

  /// Units of sequences whose single head is large go to the nodes of least work first. Returns how many cut sequences it placed.
  std::size_t place_giants(Candidate& candidate, double& giant_tokens) {
    std::size_t num_giants = 0;
    double giant_seconds = 0;
    while (num_giants < candidate.cuts.size()) {
      const double seconds = square_seconds_ * candidate.cuts[num_giants].tokens * candidate.cuts[num_giants].tokens;
      if (seconds / static_cast<double>(num_heads_) <= kGiantHead * node_seconds()) break;
      if (giant_seconds + seconds > 0.4 * total_seconds_) break;
      giant_seconds += seconds;
      ++num_giants;
    }
    using Entry = std::tuple<double, int>;
    std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue;
    for (int n = 0; n < topology_.num_nodes(); ++n) queue.emplace(0.0, n);
    for (std::size_t i = 0; i < num_giants; ++i) {
      Cut& cut = candidate.cuts[i];
      const double head_seconds = cut.unit_seconds * static_cast<double>(cut.num_blocks);
      cut.num_blocks = std::max<std::int64_t>(1, static_cast<std::int64_t>(head_seconds / (kGiantUnit * node_seconds())) + 1);
      cut.unit_seconds = head_seconds / static_cast<double>(cut.num_blocks);
      giant_tokens += cut.tokens;
      for (std::int64_t u = 0; u < num_heads_ * cut.num_blocks; ++u) {
        const int n = std::get<1>(queue.top());
        queue.pop();
        give(candidate, n, static_cast<int>(i), 1);
        queue.emplace(candidate.nodes[n].cut_seconds / ranks_of(n), n);
      }
    }
    return num_giants;
  }

  /// Longest first, each to the node of least work that has room. Nodes without room wait until a sequence is short enough.
  void place_whole(Candidate& candidate, std::size_t first, double limit, std::int64_t& violations) {
    using Entry = std::tuple<double, int>;
    std::priority_queue<Entry, std::vector<Entry>, std::greater<>> by_work;
    std::priority_queue<Entry> by_room;  // largest room first; ties to the lowest node
    const auto room = [&](int n, double cap) {
      return cap * ranks_of(n) - candidate.nodes[n].tokens - candidate.nodes[n].cut_tokens;
    };
    const auto push = [&](int n) {
      by_work.emplace((candidate.nodes[n].seconds + candidate.nodes[n].cut_seconds) / ranks_of(n), n);
    };
    for (int n = 0; n < topology_.num_nodes(); ++n) push(n);
    for (std::size_t i = first; i < order_.size(); ++i) {
      const std::int64_t s = order_[i];
      const double tokens = tokens_of(s);
      while (!by_room.empty() && std::get<0>(by_room.top()) >= tokens) {
        push(-std::get<1>(by_room.top()));
        by_room.pop();
      }
      int chosen = -1;
      while (chosen < 0 && !by_work.empty()) {
        const int n = std::get<1>(by_work.top());
        by_work.pop();
        if (room(n, limit) >= tokens) {
          chosen = n;
        } else {
          by_room.emplace(room(n, limit), -n);
        }
      }
      if (chosen < 0) {
        chosen = -std::get<1>(by_room.top());
        by_room.pop();
        if (room(chosen, node_cap_) < tokens) ++violations;
      }
      NodeState& node = candidate.nodes[chosen];
      node.sequences.push_back(s);
      node.tokens += tokens;
      node.seconds += seconds_of(s);
      push(chosen);
    }
  }

  void give_units(Candidate& candidate, std::size_t first, bool is_wide, std::int64_t& violations) {
    const int num_nodes = topology_.num_nodes();
    double cut_seconds = 0;
    for (std::size_t i = first; i < candidate.cuts.size(); ++i) {
      cut_seconds += square_seconds_ * candidate.cuts[i].tokens * candidate.cuts[i].tokens;
    }
    if (first == candidate.cuts.size()) return;
    // Attention below `least` would need more home tokens than the cap allows.
    std::vector<double> deficit(num_nodes), least(num_nodes), need(num_nodes);
    double deficit_sum = 0, least_sum = 0;
    for (int n = 0; n < num_nodes; ++n) {
      const NodeState& node = candidate.nodes[n];
      deficit[n] = std::max(0.0, rank_seconds_ * ranks_of(n) - node.seconds - node.cut_seconds);
      least[n] = std::min(
          deficit[n],
          std::max(0.0, deficit[n] - token_seconds_ * std::max(0.0, node_cap_ * ranks_of(n) - node.tokens - node.cut_tokens)));
      deficit_sum += deficit[n];
      least_sum += least[n];
    }
    const double blend =
        deficit_sum > least_sum ? std::clamp((cut_seconds - least_sum) / (deficit_sum - least_sum), 0.0, 1.0) : 0;
    using Entry = std::tuple<double, int>;  // largest need first; ties to the lowest node
    std::priority_queue<Entry> queue;
    for (int n = 0; n < num_nodes; ++n) {
      need[n] = least[n] + blend * (deficit[n] - least[n]);
      queue.emplace(need[n], -n);
    }
    // Nodes without room for a unit wait until units are small enough: largest room first.
    std::priority_queue<Entry> full;
    const auto room = [&](int n) { return node_cap_ * ranks_of(n) - candidate.nodes[n].tokens - candidate.nodes[n].cut_tokens; };
    for (std::size_t i = first; i < candidate.cuts.size(); ++i) {
      Cut& cut = candidate.cuts[i];
      const std::int64_t num_units = num_heads_ * cut.num_blocks;
      const std::int64_t wide_count = (num_units + num_nodes - 1) / num_nodes;
      while (!full.empty() && std::get<0>(full.top()) >= unit_tokens(cut, 0, 1)) {
        const int n = -std::get<1>(full.top());
        queue.emplace(need[n], -n);
        full.pop();
      }
      while (cut.given < num_units) {
        if (queue.empty()) {
          // No node has memory left: the emptiest one takes the rest.
          ++violations;
          int emptiest = 0;
          double most = -1e300;
          for (int n = 0; n < num_nodes; ++n) {
            if (room(n) / ranks_of(n) > most) {
              most = room(n) / ranks_of(n);
              emptiest = n;
            }
          }
          give(candidate, emptiest, static_cast<int>(i), num_units - cut.given);
          break;
        }
        const double wanted = std::get<0>(queue.top());
        const int n = -std::get<1>(queue.top());
        queue.pop();
        std::int64_t count = std::max<std::int64_t>(1, static_cast<std::int64_t>(std::max(0.0, wanted) / cut.unit_seconds + 0.5));
        count = std::min(count, num_units - cut.given);
        if (is_wide) count = std::min(count, wide_count);
        while (count > 0 && unit_tokens(cut, cut.given, count) > room(n)) {
          // Memory is nearly linear in the count: jump close, then step.
          const double held = unit_tokens(cut, cut.given, count);
          const std::int64_t guess = static_cast<std::int64_t>(static_cast<double>(count) * std::max(0.0, room(n)) / held);
          count = std::min(count - 1, std::max<std::int64_t>(guess, 0));
        }
        if (count == 0) {
          full.emplace(room(n), -n);
          continue;
        }
        give(candidate, n, static_cast<int>(i), count);
        need[n] -= static_cast<double>(count) * cut.unit_seconds;
        queue.emplace(need[n], -n);
      }
    }
  }

  /// Linear tokens of cut sequences fill every node to the same level.
  void settle_homes(Candidate& candidate, double cut_tokens, std::int64_t& violations) {
    if (cut_tokens <= 0) return;
    const std::size_t num_nodes = candidate.nodes.size();
    std::vector<double> contents(num_nodes), widths(num_nodes), rooms(num_nodes);
    for (std::size_t n = 0; n < num_nodes; ++n) {
      const NodeState& node = candidate.nodes[n];
      widths[n] = ranks_of(static_cast<int>(n));
      contents[n] = node.seconds + node.cut_seconds;
      rooms[n] = std::max(0.0, node_cap_ * widths[n] - node.tokens) * token_seconds_;
    }
    const Poured poured = pour(cut_tokens * token_seconds_, contents, widths, rooms);
    for (std::size_t n = 0; n < num_nodes; ++n) candidate.nodes[n].home_tokens = poured.added[n] / token_seconds_;
    if (poured.left_over > 1e-9 * cut_tokens * token_seconds_) ++violations;
  }

  /// Slowest node over the mean, by time per rank: per phase the longer of work and transfers.
  double score(const Candidate& candidate) const {
    const double group =
        static_cast<double>(num_heads_) / static_cast<double>(std::max<std::int64_t>(1, request_.model.num_key_value_heads));
    const double head_bytes = rates_.query_bytes / static_cast<double>(num_heads_);
    double worst = 0, longest_cut = 0, longest_home = 0;
    for (std::size_t n = 0; n < candidate.nodes.size(); ++n) {
      const NodeState& node = candidate.nodes[n];
      double in = 0, out = 0, ring_bytes = 0, shared_tokens = 0;
      for (const Units& units : node.units) {
        const Cut& cut = candidate.cuts[units.cut];
        const double queries = cut.tokens * static_cast<double>(units.count) / static_cast<double>(cut.num_blocks);
        const double touched =
            static_cast<double>((units.begin + units.count - 1) / cut.num_blocks - units.begin / cut.num_blocks + 1);
        // Key/value heads are shared by a group of query heads; at least one travels.
        const double keys = 2 * cut.tokens * std::max(1.0, touched / group);
        const double share = static_cast<double>(units.count) / static_cast<double>(num_heads_ * cut.num_blocks);
        const double at_home = cut.tokens > 0 ? std::min(share, node.home_tokens / cut.tokens) : 0;
        in += (queries + keys) * head_bytes * (1 - at_home);
        out += queries * head_bytes * (1 - at_home);
        ring_bytes += keys * head_bytes;
        shared_tokens += share * cut.tokens;
      }
      const double away = std::max(0.0, node.home_tokens - 0.5 * std::min(node.home_tokens, shared_tokens));
      in += away * rates_.query_bytes;
      out += away * (rates_.query_bytes + rates_.key_value_bytes);
      const double num_ranks = ranks_of(static_cast<int>(n));
      const double bandwidth = card_bytes_per_second_[n];
      const double wire = bandwidth > 0 ? std::max(in, out) / bandwidth : (in + out > 0 ? 1e30 : 0);
      const double ring = ring_bytes * (num_ranks - 1) / num_ranks / rates_.intra_bytes_per_second;
      const double linear = (token_seconds_ * (node.tokens + node.home_tokens)) / num_ranks;
      const double attention = (node.seconds - token_seconds_ * node.tokens + node.cut_seconds) / num_ranks;
      const double forward = kForwardShareOfAttention * attention + kForwardShareOfLinear * linear;
      const double backward = attention + linear - forward;
      worst = std::max(worst, std::max({forward, wire, ring}) + std::max({backward, wire, 2 * ring}));
      longest_cut = std::max(longest_cut, node.cut_seconds / num_ranks);
      longest_home = std::max(longest_home, token_seconds_ * node.home_tokens / num_ranks);
    }
    // In every layer a token of a cut sequence goes from its home to its heads and back: what the slowest home and the slowest
    // heads take for all of them follows one another.
    const double chain = longest_cut + longest_home;
    return std::max(worst, chain) / rank_seconds_;
  }

  std::optional<Placement> finish(Candidate& candidate) {
    Placement placement;
    const int num_nodes = topology_.num_nodes();
    const int num_ranks = topology_.num_ranks();
    std::vector<NodeDivision> divisions(num_nodes);
    placement.work.reserve(order_.size());
    bool keeps_cap = true;
    const std::vector<CutChain> chains = cut_chains(candidate);
    for (int n = 0; n < num_nodes; ++n) {
      const NodeState& node = candidate.nodes[n];
      NodeLoad load = prices(candidate.rank_cap);
      load.num_ranks = ranks_of(n);
      load.sequences = node.sequences;
      load.cut_attention_seconds = node.cut_seconds;
      load.cut_tokens = node.cut_tokens;
      load.home_tokens = node.home_tokens;
      load.chain = chains[n];
      const double level = (node.seconds + node.cut_seconds + token_seconds_ * node.home_tokens) / load.num_ranks;
      // With few nodes there is time to try every way; what may have to wait then tells equal ones apart.
      const bool tries_all = num_nodes <= kFewNodes;
      load.target_seconds = tries_all ? level : std::max(1.01 * rank_seconds_, 1.005 * level);
      load.counts_waiting = tries_all;
      divisions[n] = divide_node(load);
      keeps_cap = keeps_cap && divisions[n].keeps_cap;
      for (HeadSplit& split : divisions[n].head_splits) {
        const double tokens = tokens_of(split.sequence);
        candidate.nodes[n].units.push_back({static_cast<int>(candidate.cuts.size()), 0, num_heads_});
        candidate.nodes[n].home_tokens += tokens;
        candidate.cuts.push_back({split.sequence, tokens, 1, 0, num_heads_, std::move(split.heads)});
      }
      for (Ring& ring : divisions[n].rings) {
        for (int& rank : ring.ranks) rank += topology_.nodes[n].first_rank;
        placement.work.push_back(std::move(ring));
      }
    }
    add_head_rings(candidate, divisions, placement);
    if (!candidate.cuts.empty()) {
      placement.homes.resize(num_ranks);
      keeps_cap = add_homes(candidate, divisions, placement) && keeps_cap;
    }
    if (!keeps_cap && exceeds_cap(placement)) return std::nullopt;
    return placement;
  }

  /// By node.
  std::vector<CutChain> cut_chains(const Candidate& candidate) const {
    std::vector<CutChain> chains(candidate.nodes.size());
    const std::vector<double> token_bytes = home_token_bytes(candidate);
    double bytes = 0, tokens = 0;
    for (std::size_t i = 0; i < token_bytes.size(); ++i) {
      bytes += candidate.cuts[i].tokens * token_bytes[i];
      tokens += candidate.cuts[i].tokens;
    }
    if (tokens == 0) return chains;
    // In both passes a home sends what home_token_bytes counts, or its gradient, and a query, or its gradient; as much returns.
    const double home_bytes = bytes / tokens + rates_.query_bytes;
    const double head_bytes = 2 * rates_.query_bytes + rates_.key_value_bytes;
    double slowest_head = 0, slowest_home = 0;
    for (int n = 0; n < topology_.num_nodes(); ++n) {
      const NodeState& node = candidate.nodes[n];
      const double num_ranks = ranks_of(n);
      if (card_bytes_per_second_[n] > 0 && is_synchronous()) {
        chains[n].head_card_seconds = node.cut_tokens * head_bytes * num_ranks / card_bytes_per_second_[n];
        chains[n].home_card_seconds = node.home_tokens * home_bytes * num_ranks / card_bytes_per_second_[n];
      }
      slowest_head = std::max(slowest_head, (node.cut_seconds + chains[n].head_card_seconds) / num_ranks);
      slowest_home = std::max(slowest_home, (token_seconds_ * node.home_tokens + chains[n].home_card_seconds) / num_ranks);
    }
    for (CutChain& chain : chains) {
      chain.slowest_head_seconds = slowest_head;
      chain.slowest_home_seconds = slowest_home;
    }
    return chains;
  }

  NodeLoad prices(double rank_cap) const {
    NodeLoad load;
    load.lengths = request_.lengths;
    load.num_heads = num_heads_;
    load.square_seconds = square_seconds_;
    load.token_seconds = token_seconds_;
    load.ring_token_seconds = rates_.key_value_bytes / rates_.intra_bytes_per_second;
    load.message_seconds = rates_.message_seconds;
    load.token_cap = rank_cap;
    load.is_synchronous = is_synchronous();
    return load;
  }

  bool exceeds_cap(const Placement& placement) const {
    std::vector<std::int64_t> held(topology_.num_ranks(), 0);
    for (const AttentionWork& work : placement.work) add_attention_tokens(work, held);
    for (const std::vector<Chunk>& home : placement.homes) {
      if (num_tokens(home) > request_.token_cap) return true;
    }
    return *std::max_element(held.begin(), held.end()) > request_.token_cap;
  }

  /// Whole heads on each rank of a node.
  void add_rank_parts(const Cut& cut, int first_rank, std::vector<HeadPart>& parts) const {
    HeadPart part;
    for (std::size_t r = 0; r < cut.heads_of_rank.size(); ++r) {
      part.head_begin = part.head_end;
      part.head_end += static_cast<int>(cut.heads_of_rank[r]);
      part.ranks = {first_rank + static_cast<int>(r)};
      part.shares = {request_.lengths[cut.sequence]};
      if (part.head_begin < part.head_end) parts.push_back(part);
    }
  }

  /// Units on a ring inside a node, whose ranks have shares by `weights`.
  void add_ring_parts(const Cut& cut, const Units& units, const std::vector<std::int64_t>& weights, int first_rank,
                      std::vector<HeadPart>& parts) const {
    HeadPart part;
    const std::vector<std::int64_t> shares = proportional_shares(request_.lengths[cut.sequence], weights);
    for (std::size_t r = 0; r < shares.size(); ++r) {
      if (shares[r] == 0) continue;
      part.ranks.push_back(first_rank + static_cast<int>(r));
      part.shares.push_back(shares[r]);
    }
    // Units run head by head: a partial head, whole heads, a partial head.
    const int num_blocks = static_cast<int>(cut.num_blocks);
    std::int64_t at = units.begin;
    const std::int64_t end = units.begin + units.count;
    while (at < end) {
      const std::int64_t head = at / num_blocks;
      const int block = static_cast<int>(at % num_blocks);
      part.head_begin = static_cast<int>(head);
      if (block == 0 && end - at >= num_blocks) {
        part.head_end = static_cast<int>(end / num_blocks);
        part.query_block_begin = 0;
        part.query_block_end = part.num_query_blocks = 1;
        at = part.head_end * static_cast<std::int64_t>(num_blocks);
      } else {
        const std::int64_t stop = std::min<std::int64_t>(end, (head + 1) * num_blocks);
        part.head_end = part.head_begin + 1;
        part.query_block_begin = block;
        part.query_block_end = block + static_cast<int>(stop - at);
        part.num_query_blocks = num_blocks;
        at = stop;
      }
      parts.push_back(part);
    }
  }

  void add_head_rings(const Candidate& candidate, const std::vector<NodeDivision>& divisions, Placement& placement) {
    std::vector<HeadRing> rings(candidate.cuts.size());
    for (std::size_t i = 0; i < rings.size(); ++i) rings[i].sequence = candidate.cuts[i].sequence;
    for (int n = 0; n < topology_.num_nodes(); ++n) {
      if (candidate.nodes[n].units.empty()) continue;
      std::vector<std::int64_t> weights;
      for (const double fraction : divisions[n].cut_fraction) weights.push_back(static_cast<std::int64_t>(fraction * 1e9));
      for (const Units& units : candidate.nodes[n].units) {
        const Cut& cut = candidate.cuts[units.cut];
        const int first_rank = topology_.nodes[n].first_rank;
        if (cut.heads_of_rank.empty()) {
          add_ring_parts(cut, units, weights, first_rank, rings[units.cut].parts);
        } else {
          add_rank_parts(cut, first_rank, rings[units.cut].parts);
        }
      }
    }
    for (HeadRing& ring : rings) placement.work.push_back(std::move(ring));
  }

  /// Of every cut sequence, what a token's home sends the nodes of its heads: its queries once, keys and values to each.
  std::vector<double> home_token_bytes(const Candidate& candidate) const {
    std::vector<double> bytes(candidate.cuts.size(), rates_.query_bytes);
    const std::int64_t group = num_heads_ / std::max<std::int64_t>(1, request_.model.num_key_value_heads);
    const double head_bytes = rates_.query_bytes / static_cast<double>(num_heads_);
    for (const NodeState& node : candidate.nodes) {
      for (const Units& units : node.units) {
        const std::int64_t blocks_of_group = candidate.cuts[units.cut].num_blocks * std::max<std::int64_t>(1, group);
        const std::int64_t touched = (units.begin + units.count - 1) / blocks_of_group - units.begin / blocks_of_group + 1;
        bytes[units.cut] += 2 * head_bytes * static_cast<double>(touched);
      }
    }
    return bytes;
  }

  /// By node: the rate at which its cards carry what all its home tokens send, where each card has those of its ranks.
  std::vector<double> home_bytes_per_second(const std::vector<NodeDivision>& divisions) const {
    std::vector<double> result = card_bytes_per_second_;
    for (const NicGroup& cards : topology_.nic_groups) {
      const std::vector<double>& tokens = divisions[cards.node].home_tokens;
      double own = 0;
      for (const int rank : cards.ranks) own += tokens[rank - topology_.nodes[cards.node].first_rank];
      const double all = std::accumulate(tokens.begin(), tokens.end(), 0.0);
      if (own > 0) result[cards.node] = std::min(result[cards.node], cards.bytes_per_second * all / own);
    }
    return result;
  }

  /// Whole numbers of home tokens on the nodes, by cut sequence: what stays on the nodes of its heads, then what is left.
  std::vector<std::vector<Stay>> choose_stays(const Candidate& candidate, const std::vector<NodeDivision>& divisions) const {
    const int num_nodes = topology_.num_nodes();
    const std::size_t num_cuts = candidate.cuts.size();
    std::vector<std::int64_t> weights(num_nodes);
    for (int n = 0; n < num_nodes; ++n) weights[n] = static_cast<std::int64_t>(candidate.nodes[n].home_tokens * 1024);
    std::vector<std::int64_t> homeless;
    for (const Cut& cut : candidate.cuts) homeless.push_back(request_.lengths[cut.sequence]);
    std::vector<std::int64_t> room =
        proportional_shares(std::accumulate(homeless.begin(), homeless.end(), std::int64_t{0}), weights);

    std::vector<std::vector<Stay>> stays(num_cuts);
    const std::vector<double> token_bytes = home_token_bytes(candidate), bytes_per_second = home_bytes_per_second(divisions);
    std::vector<double> sent(num_nodes, 0);  // bytes of a layer's forward pass
    const auto add = [&](std::size_t i, int n, std::int64_t tokens) {
      room[n] -= tokens;
      homeless[i] -= tokens;
      sent[n] += static_cast<double>(tokens) * token_bytes[i];
    };
    const auto stay = [&](std::size_t i, int n, std::int64_t tokens) {
      if (tokens <= 0) return;
      stays[i].push_back({n, tokens});
      add(i, n, tokens);
    };
    for (int n = 0; n < num_nodes; ++n) {
      for (const Units& units : candidate.nodes[n].units) {
        const Cut& cut = candidate.cuts[units.cut];
        const double share = cut.tokens * static_cast<double>(units.count) / static_cast<double>(num_heads_ * cut.num_blocks);
        stay(units.cut, n, std::min({static_cast<std::int64_t>(share), room[n], homeless[units.cut]}));
      }
    }
    // What is left goes to the first nodes with room whose cards have time for it: tokens of the longest sequences have their
    // keys and values on many nodes. Where cards have none, shorter sequences, with fewer such nodes, give way.
    const auto has_homeless = [&] { return std::any_of(homeless.begin(), homeless.end(), [](std::int64_t t) { return t > 0; }); };
    double seconds = kHomeWire * kForwardShareOfLinear * rank_seconds_;
    for (int step = 0; has_homeless(); ++step, seconds *= kMoreHomeWire) {
      const auto in_time = [&](std::size_t i, int n) {
        const double bytes = seconds * bytes_per_second[n] - sent[n];
        if (step == kHomeWireSteps || bytes_per_second[n] == 0 || token_bytes[i] == 0) return homeless[i];
        return static_cast<std::int64_t>(std::max(0.0, bytes) / token_bytes[i]);
      };
      for (std::size_t i = 0; i < num_cuts; ++i) {
        for (int n = 0; n < num_nodes && homeless[i] > 0; ++n) stay(i, n, std::min({homeless[i], room[n], in_time(i, n)}));
      }
      for (std::size_t i = 0; i < num_cuts; ++i) {
        for (std::size_t j = num_cuts; homeless[i] > 0 && j-- > i + 1;) {
          for (Stay& shorter : stays[j]) {
            const std::int64_t tokens = std::min({homeless[i], shorter.tokens, in_time(i, shorter.node)});
            if (tokens <= 0) continue;
            shorter.tokens -= tokens;
            add(j, shorter.node, -tokens);
            stay(i, shorter.node, tokens);
          }
        }
      }
    }
    return stays;
  }

  /// Home tokens by node and sequence, then by rank; zigzag positions follow the rank within the node, so that a token's home and
  /// its ring position mostly have the same index. Returns false where a cap is passed.
  bool add_homes(const Candidate& candidate, const std::vector<NodeDivision>& divisions, Placement& placement) {
    const int num_nodes = topology_.num_nodes();
    const std::vector<std::vector<Stay>> stays = choose_stays(candidate, divisions);

    // Room of each rank, in whole tokens.
    std::vector<std::int64_t> room(topology_.num_ranks());
    std::vector<std::int64_t> node_total(num_nodes, 0);
    for (const std::vector<Stay>& list : stays) {
      for (const Stay& stay : list) node_total[stay.node] += stay.tokens;
    }
    for (int n = 0; n < num_nodes; ++n) {
      std::vector<std::int64_t> rank_weights;
      for (const double tokens : divisions[n].home_tokens) rank_weights.push_back(static_cast<std::int64_t>(tokens * 1024));
      if (rank_weights.empty()) rank_weights.assign(ranks_of(n), 1);
      const std::vector<std::int64_t> shares = proportional_shares(node_total[n], rank_weights);
      std::copy(shares.begin(), shares.end(), room.begin() + topology_.nodes[n].first_rank);
    }
    for (const AttentionWork& work : placement.work) {
      if (const auto* ring = std::get_if<Ring>(&work)) append_chunks(*ring, placement.homes);
    }
    for (std::size_t i = 0; i < candidate.cuts.size(); ++i) {
      struct Member {
        int index;  // within the node
        int rank;
        std::int64_t tokens;
      };
      std::vector<Member> members;
      for (const Stay& stay : stays[i]) {
        const int first = topology_.nodes[stay.node].first_rank;
        const std::span<std::int64_t> node_room(room.data() + first, ranks_of(stay.node));
        const std::vector<std::int64_t> shares = proportional_shares(stay.tokens, node_room);
        for (int r = 0; r < ranks_of(stay.node); ++r) {
          if (shares[r] > 0) members.push_back({r, first + r, shares[r]});
          node_room[r] -= shares[r];
        }
      }
      std::sort(members.begin(), members.end(),
                [](const Member& a, const Member& b) { return std::tie(a.index, a.rank) < std::tie(b.index, b.rank); });
      std::vector<std::int64_t> shares;
      for (const Member& member : members) shares.push_back(member.tokens);
      const auto chunks = zigzag_chunks(candidate.cuts[i].sequence, shares);
      for (std::size_t m = 0; m < members.size(); ++m) {
        for (const Chunk& chunk : chunks[m]) append_chunk(placement.homes[members[m].rank], chunk);
      }
    }
    return !exceeds_cap(placement);
  }

  const PlacementRequest& request_;
  const Topology& topology_;
  CostRates rates_;
  std::vector<double> card_bytes_per_second_;  ///< by node
  std::vector<std::int64_t> order_;
  std::int64_t num_heads_;
  double square_seconds_ = 0;
  double token_seconds_ = 0;
  double total_tokens_ = 0;
  double total_seconds_ = 0;
  double rank_tokens_ = 0;
  double rank_seconds_ = 0;
  double node_cap_ = 0;  ///< tokens of a rank, as the mean of its node
  int largest_node_ = 1;
  bool may_cut_ = false;  ///< over nodes: a node without cards could not take a part, and every node may get one
};

}  // namespace

Placement place_ballast(const PlacementRequest& request) {
  require_room(request, "ballast");
  // A head whose keys and values do not fit a node, and few heads on tiny nodes, leave no memory for keys and values that are
  // stored twice: groups of nodes are then planned as one node, in the end all of them, where every sequence is a ring.
  for (int size = 1;; size *= 2) {
    const Topology groups = grouped_nodes(request.topology, size);
    const PlacementRequest grouped{request.lengths, request.sequences, groups,
                                   request.model,   request.token_cap, request.tokens_per_rank};
    if (std::optional<Placement> placement = Planner(grouped).run()) return *std::move(placement);
    if (groups.num_nodes() == 1) return place_by_room(request);
  }
}

}  // namespace ballast::scheduler
