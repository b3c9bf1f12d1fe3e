#include "scheduler/policy/node_placement.h"

#include <algorithm>

#include "scheduler/plan/layout.h"
#include "scheduler/policy/water_fill.h"

namespace ballast::scheduler {

namespace {

/// What a sequence that costs more than `ring_fraction` of the target levels, and on how many ranks.
enum class Leveling {
  kWork,       ///< all work, on the smallest ring that levels out
  kAttention,  ///< attention alone, on the smallest ring; shorter sequences and home tokens then level the rest
  kEveryRank,  ///< attention alone, on all ranks: where a node's tokens reach the cap, ranks must be equal in both
  kHeads,      ///< attention, by heads on all ranks: a quarter of a ring's bytes and two exchanges; home tokens level the rest
};
struct Way {
  double ring_fraction;
  Leveling leveling;
};
/// Tried in order. Small rings first: fewer messages.
constexpr Way kWays[] = {
    {1, Leveling::kWork},         {0.6, Leveling::kWork},       {0.35, Leveling::kWork},     {0.2, Leveling::kWork},
    {0.13, Leveling::kWork},      {0.35, Leveling::kAttention}, {0.2, Leveling::kAttention}, {0.1, Leveling::kAttention},
    {0.05, Leveling::kAttention}, {0.6, Leveling::kEveryRank},  {0.3, Leveling::kEveryRank}, {0.15, Leveling::kEveryRank},
    {0.6, Leveling::kHeads},      {0.3, Leveling::kHeads},      {0.15, Leveling::kHeads},
};
/// No sequence is put on every rank of more ranks for balance.
constexpr int kLargestSpread = 64;
/// Shorter sequences are never cut for balance.
constexpr std::int64_t kSmallestCutLength = 512;
/// Of the mean attention of a rank's whole sequences: what it is filled to.
constexpr double kFullAttention = 1.001;
/// Keys and values travel once forward; they and their gradients backward.
constexpr double kRingPasses = 3;
/// A round starts its messages once forward and once backward.
constexpr double kRoundPasses = 2;
/// Of a head split a rank receives queries, keys and values of its heads, and outputs of its tokens: as much as keys and values
/// twice.
constexpr double kSplitTensors = 2;
constexpr double kSplitRounds = 2;
/// A ring member should have two kernel tiles, or a sixteenth of a short sequence.
constexpr std::int64_t kSmallestShare = 256;
/// Ring sizes are tried one by one up to this size, then in steps that grow with it.
constexpr int kSizeStep = 16;

class Division {
 public:
  Division(const NodeLoad& load, const Way& way) : load_(load), way_(way) {
    const int num_ranks = load.num_ranks;
    attention_.assign(num_ranks, 0.0);
    ring_tokens_.assign(num_ranks, 0.0);
    passing_tokens_.assign(num_ranks, 0.0);
    rounds_.assign(num_ranks, 0.0);
    tokens_.assign(num_ranks, 0);
    double whole_tokens = 0, whole_squares = 0, split_tokens = 0;
    for (const std::int64_t s : load.sequences) {
      const double tokens = static_cast<double>(load.lengths[s]);
      if (is_split(s)) {
        split_tokens += tokens;
        continue;
      }
      whole_tokens += tokens;
      whole_squares += tokens * tokens;
    }
    attention_target_ = kFullAttention * load.square_seconds * whole_squares / num_ranks;
    // Whole sequences leave room for what the node holds of cut ones.
    whole_cap_ = std::min(load.token_cap, std::max(1.01 * whole_tokens / num_ranks + 32,
                                                   load.token_cap - 1.02 * (load.cut_tokens + split_tokens) / num_ranks));
  }

  NodeDivision run() {
    for (const std::int64_t s : load_.sequences) {
      if (!is_split(s)) place(s);
    }
    pour_cut_work();
    if (result_.makespan_seconds > load_.target_seconds) {
      // What came after a ring has left its members uneven: the shortest sequences, which came last, level the others.
      for (auto ring = result_.rings.rbegin(); ring != result_.rings.rend(); ++ring) level_ring(*ring);
      pour_cut_work();
    }
    return std::move(result_);
  }

 private:
  double level(int rank) const { return attention_[rank] + load_.token_seconds * static_cast<double>(tokens_[rank]); }

  double attention_of(std::int64_t s) const {
    const double tokens = static_cast<double>(load_.lengths[s]);
    return load_.square_seconds * tokens * tokens;
  }
  double seconds_of(std::int64_t s) const {
    return attention_of(s) + load_.token_seconds * static_cast<double>(load_.lengths[s]);
  }
  /// Tokens that a rank may take: of whole sequences; of others, beside `held` of them.
  double whole_room(int rank) const { return std::max(0.0, whole_cap_ - static_cast<double>(tokens_[rank])); }
  double cap_room(int rank, double held = 0) const {
    return std::max(0.0, load_.token_cap - static_cast<double>(tokens_[rank]) - held);
  }
  bool is_small(std::int64_t s) const { return load_.lengths[s] < kSmallestCutLength || load_.num_ranks == 1; }
  bool is_long(std::int64_t s) const { return !is_small(s) && seconds_of(s) > way_.ring_fraction * load_.target_seconds; }
  bool is_split(std::int64_t s) const { return way_.leveling == Leveling::kHeads && is_long(s); }

  void place(std::int64_t s) {
    const std::int64_t length = load_.lengths[s];
    const double seconds = seconds_of(s);
    if (is_long(s) && way_.leveling != Leveling::kWork) {
      place_by_attention(s, attention_of(s));
      return;
    }
    int best = -1;
    for (int r = 0; r < load_.num_ranks; ++r) {
      if (static_cast<double>(tokens_[r] + length) <= whole_cap_ && (best < 0 || level(r) < level(best))) best = r;
    }
    if (best >= 0 && (is_small(s) || (!is_long(s) && level(best) + seconds <= load_.target_seconds))) {
      place_whole(s, best);
      return;
    }
    std::vector<double> levels(load_.num_ranks);
    for (int r = 0; r < load_.num_ranks; ++r) levels[r] = level(r);
    place_on_ring(s, seconds, levels, load_.target_seconds, 2);
  }

  void place_by_attention(std::int64_t s, double attention) {
    const int lowest = static_cast<int>(std::min_element(attention_.begin(), attention_.end()) - attention_.begin());
    if (way_.leveling == Leveling::kAttention && attention_[lowest] + attention <= attention_target_ &&
        static_cast<double>(tokens_[lowest] + load_.lengths[s]) <= whole_cap_) {
      place_whole(s, lowest);
    } else {
      place_on_ring(s, attention, attention_, attention_target_, way_.leveling == Leveling::kEveryRank ? load_.num_ranks : 2);
    }
  }

  void place_whole(std::int64_t s, int rank) {
    add(rank, load_.lengths[s], attention_of(s));
    result_.rings.push_back({s, {rank}, {load_.lengths[s]}});
  }

  /// The smallest ring, of the ranks with the lowest of `levels`, on which pouring `seconds` of work stays within `target`.
  void place_on_ring(std::int64_t s, double seconds, const std::vector<double>& levels, double target, int smallest_size) {
    const std::int64_t length = load_.lengths[s];
    std::vector<int> order(load_.num_ranks);
    for (int r = 0; r < load_.num_ranks; ++r) order[r] = r;
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return levels[a] < levels[b]; });
    const double per_token = seconds / static_cast<double>(length);
    std::vector<double> contents, widths, rooms;
    int next_size = std::min(smallest_size, load_.num_ranks);
    for (int size = 1; size <= load_.num_ranks; ++size) {
      const int rank = order[size - 1];
      contents.push_back(levels[rank]);
      widths.push_back(1);
      rooms.push_back(whole_room(rank) * per_token);
      if (size < next_size && size < load_.num_ranks) continue;
      next_size = size + 1 + size / kSizeStep;
      const Poured poured = pour(seconds, contents, widths, rooms);
      if (size < load_.num_ranks) {
        const double smallest = *std::min_element(poured.added.begin(), poured.added.end());
        const std::int64_t wanted = std::min(kSmallestShare, length / 16);
        if (poured.left_over > 1e-9 * seconds || poured.level > target || smallest < static_cast<double>(wanted) * per_token)
          continue;
      } else if (poured.left_over > 1e-9 * seconds) {
        result_.keeps_cap = false;
      }
      result_.rings.push_back(poured_ring(s, {order.begin(), order.begin() + size}, poured, seconds));
      count(result_.rings.back(), 1);
      return;
    }
  }

  /// Moves shares between the members of a ring until all their work is level, as far as there is room.
  void level_ring(Ring& ring) {
    if (ring.ranks.size() == 1) return;
    count(ring, -1);
    const double length = static_cast<double>(load_.lengths[ring.sequence]);
    const double per_token = load_.square_seconds * length + load_.token_seconds, seconds = per_token * length;
    std::vector<double> contents, rooms;
    for (const int rank : ring.ranks) {
      contents.push_back(level(rank));
      rooms.push_back(whole_room(rank) * per_token);
    }
    const Poured poured = pour(seconds, contents, std::vector<double>(ring.ranks.size(), 1.0), rooms);
    if (poured.left_over <= 1e-9 * seconds) ring = poured_ring(ring.sequence, ring.ranks, poured, seconds);
    count(ring, 1);
  }

  /// Of the ranks that got some of the `seconds`, in rank order: neighbours of the ring are mostly in one node.
  Ring poured_ring(std::int64_t s, const std::vector<int>& ranks, const Poured& poured, double seconds) const {
    const std::vector<std::int64_t> shares = shares_of(load_.lengths[s], poured, seconds);
    std::vector<std::int64_t> share_of_rank(load_.num_ranks, 0);
    for (std::size_t i = 0; i < ranks.size(); ++i) share_of_rank[ranks[i]] = shares[i];
    Ring ring{s, {}, {}};
    for (int r = 0; r < load_.num_ranks; ++r) {
      if (share_of_rank[r] == 0) continue;
      ring.ranks.push_back(r);
      ring.shares.push_back(share_of_rank[r]);
    }
    return ring;
  }

  static std::vector<std::int64_t> shares_of(std::int64_t length, const Poured& poured, double seconds) {
    std::vector<std::int64_t> weights;
    for (const double added : poured.added) weights.push_back(static_cast<std::int64_t>(added / seconds * 1e9));
    return proportional_shares(length, weights);
  }

  /// Adds (1) or takes away (-1) what the members of a ring have of it.
  void count(const Ring& ring, int sign) {
    const std::int64_t length = load_.lengths[ring.sequence];
    const double num_rounds = static_cast<double>(ring.ranks.size() - 1);
    // Where nothing hides it, the largest share is waited for while it passes every member, one after the other.
    const double passing = num_rounds * static_cast<double>(*std::max_element(ring.shares.begin(), ring.shares.end()));
    for (std::size_t i = 0; i < ring.ranks.size(); ++i) {
      const int rank = ring.ranks[i];
      const std::int64_t share = ring.shares[i];
      add(rank, sign * share, sign * load_.square_seconds * static_cast<double>(length) * static_cast<double>(share));
      passing_tokens_[rank] += sign * (load_.is_synchronous ? passing : static_cast<double>(length - share));
      ring_tokens_[rank] += sign * static_cast<double>(share);
      rounds_[rank] += sign * num_rounds;
    }
  }

  void add(int rank, std::int64_t tokens, double attention_seconds) {
    tokens_[rank] += tokens;
    attention_[rank] += attention_seconds;
    if (static_cast<double>(tokens_[rank]) > load_.token_cap) result_.keeps_cap = false;
  }

  struct Split {
    std::vector<HeadSplit> parts;
    std::vector<double> attention, held_tokens;  ///< by rank
    double tokens = 0;
    bool has_room = true;
  };
  /// Divides heads so that ranks, of these contents, come to one level; adds the attention to the contents.
  Split split_heads(std::vector<double>& contents) const {
    const std::size_t num_ranks = contents.size();
    Split split{{}, std::vector<double>(num_ranks, 0), std::vector<double>(num_ranks, 0)};
    const double num_heads = static_cast<double>(load_.num_heads);
    for (const std::int64_t s : load_.sequences) {
      if (!is_split(s)) continue;
      const double attention = attention_of(s), tokens = static_cast<double>(load_.lengths[s]);
      std::vector<double> rooms(num_ranks);
      for (std::size_t r = 0; r < num_ranks; ++r) {
        rooms[r] = cap_room(static_cast<int>(r), split.held_tokens[r]) * attention / tokens;
      }
      const Poured poured = pour(attention, contents, std::vector<double>(num_ranks, 1.0), rooms);
      HeadSplit part{s, shares_of(load_.num_heads, poured, attention)};
      for (std::size_t r = 0; r < num_ranks; ++r) {
        const double share = static_cast<double>(part.heads[r]) / num_heads;
        contents[r] += share * attention;
        split.attention[r] += share * attention;
        split.held_tokens[r] += share * tokens;
        split.has_room = split.has_room && static_cast<double>(tokens_[r]) + split.held_tokens[r] <= load_.token_cap;
      }
      split.tokens += tokens;
      split.parts.push_back(std::move(part));
    }
    return split;
  }

  /// Keys and values of cut sequences on the ring inside the node, where the largest share passes every member.
  double cut_ring_seconds(const Poured& cut) const {
    if (load_.cut_attention_seconds == 0) return 0;
    const auto num_members = std::count_if(cut.added.begin(), cut.added.end(), [](double added) { return added > 0; });
    const double largest = *std::max_element(cut.added.begin(), cut.added.end()) / load_.cut_attention_seconds;
    return kRingPasses * load_.ring_token_seconds * static_cast<double>(num_members - 1) * largest * load_.cut_tokens;
  }

  /// Heads of the slowest rank with the slowest homes of other nodes, or the other way round.
  double chain_seconds(const Poured& cut, const Poured& home, double home_seconds) const {
    double result = 0;
    if (load_.cut_attention_seconds > 0) {
      const double most = *std::max_element(cut.added.begin(), cut.added.end());
      const double card = most / load_.cut_attention_seconds * load_.chain.head_card_seconds;
      result = std::max(most, cut_ring_seconds(cut)) + card + load_.chain.slowest_home_seconds;
    }
    if (load_.home_tokens > 0) {
      const double most = *std::max_element(home.added.begin(), home.added.end());
      const double card = most / home_seconds * load_.chain.home_card_seconds;
      result = std::max(result, most + card + load_.chain.slowest_head_seconds);
    }
    return result;
  }

  /// Cut attention fills (a) the level of attention, or (b) that of all work; home tokens then level what remains. The better one
  /// stays.
  void pour_cut_work() {
    const int num_ranks = load_.num_ranks;
    const std::vector<double> widths(num_ranks, 1.0);
    bool is_first = true;
    for (const bool fills_total : {true, false}) {
      std::vector<double> contents(num_ranks), rooms(num_ranks), home_rooms(num_ranks);
      for (int r = 0; r < num_ranks; ++r) {
        contents[r] = fills_total ? level(r) : attention_[r];
        home_rooms[r] = cap_room(r) * load_.token_seconds;
      }
      const Split split = split_heads(contents);
      for (int r = 0; r < num_ranks; ++r) {
        rooms[r] = load_.cut_tokens > 0 ? cap_room(r, split.held_tokens[r]) * load_.cut_attention_seconds / load_.cut_tokens : 0;
      }
      const Poured cut = pour(load_.cut_attention_seconds, contents, widths, rooms);
      for (int r = 0; r < num_ranks; ++r) contents[r] = level(r) + split.attention[r] + cut.added[r];
      const double home_seconds = (load_.home_tokens + split.tokens) * load_.token_seconds;
      const Poured home = pour(home_seconds, contents, widths, home_rooms);
      double makespan = 0, longest_linear = 0, longest_wire = 0, longest_split = 0, most_rounds = 0;
      for (int r = 0; r < num_ranks; ++r) {
        makespan = std::max(makespan, contents[r] + home.added[r]);
        const double received = passing_tokens_[r] + kSplitTensors * split.held_tokens[r];
        longest_wire = std::max(longest_wire, kRingPasses * load_.ring_token_seconds * received);
        longest_linear = std::max(longest_linear, load_.token_seconds * ring_tokens_[r] + home.added[r]);
        longest_split = std::max(longest_split, split.attention[r]);
        most_rounds = std::max(most_rounds, rounds_[r]);
      }
      // Where all of a rank's tokens are in rings, nothing else runs while keys and values come and gradients return.
      const double waits = longest_wire + std::max(longest_linear, cut_ring_seconds(cut));
      makespan = std::max({makespan, waits, chain_seconds(cut, home, home_seconds)});
      const bool has_room =
          split.has_room && cut.left_over <= 1e-9 * load_.cut_attention_seconds && home.left_over <= 1e-9 * home_seconds;
      if (!is_first && makespan >= result_.makespan_seconds) continue;
      if (!is_first && !has_room) continue;
      is_first = false;
      result_.makespan_seconds = makespan;
      // Tokens of split sequences wait for that attention, too.
      const double rounds = most_rounds + (split.parts.empty() ? 0 : kSplitRounds);
      result_.waiting_seconds =
          kRoundPasses * load_.message_seconds * rounds + std::max(0.0, longest_linear + longest_wire + longest_split - makespan);
      result_.head_splits = split.parts;
      has_room_ = has_room;
      result_.cut_fraction.assign(num_ranks, 0.0);
      result_.home_tokens.assign(num_ranks, 0.0);
      for (int r = 0; r < num_ranks; ++r) {
        if (load_.cut_attention_seconds > 0) result_.cut_fraction[r] = cut.added[r] / load_.cut_attention_seconds;
        result_.home_tokens[r] = home.added[r] / load_.token_seconds;
      }
    }
    result_.keeps_cap = result_.keeps_cap && has_room_;
  }

  const NodeLoad& load_;
  Way way_;
  double attention_target_ = 0;
  double whole_cap_;
  bool has_room_ = true;
  std::vector<double> attention_;
  std::vector<double> ring_tokens_;     ///< of sequences shared with other ranks
  std::vector<double> passing_tokens_;  ///< of rings, whose keys and values are waited for, once
  std::vector<double> rounds_;          ///< of all rings
  std::vector<std::int64_t> tokens_;
  NodeDivision result_;
};

}  // namespace

NodeDivision divide_node(const NodeLoad& load) {
  const auto seconds = [&](const NodeDivision& division) {
    return division.makespan_seconds + (load.counts_waiting ? division.waiting_seconds : 0);
  };
  NodeDivision best;
  bool is_first = true;
  for (const Way& way : kWays) {
    if (way.leveling == Leveling::kEveryRank && load.num_ranks > kLargestSpread) continue;
    // Home tokens that wait for heads on other nodes would also wait for the linear work of those of a split sequence.
    if (way.leveling == Leveling::kHeads && (load.num_ranks > load.num_heads || load.home_tokens > 0)) continue;
    NodeDivision division = Division(load, way).run();
    const bool is_better = is_first || (division.keeps_cap && !best.keeps_cap) ||
                           (division.keeps_cap == best.keeps_cap && seconds(division) < seconds(best));
    if (is_better) best = std::move(division);
    is_first = false;
    if (best.keeps_cap && best.makespan_seconds <= load.target_seconds) break;
  }
  return best;
}

}  // namespace ballast::scheduler
