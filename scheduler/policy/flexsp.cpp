#include "scheduler/policy/flexsp.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <span>

#include "scheduler/cost/seconds.h"
#include "scheduler/policy/length_classes.h"
#include "scheduler/policy/pack.h"

namespace ballast::scheduler {

namespace {

constexpr std::int64_t kMaxMultisets = 2000;
constexpr int kCoarseUnits = 4;  ///< fewest units of ranks that are dealt to sizes above kMaxMultisets
constexpr int kLengthClasses = 16;
constexpr int kMicroBatchNumbers = 5;  ///< consecutive numbers of micro-batches that are compared
constexpr double kNever = std::numeric_limits<double>::infinity();

/// Groups of each size: counts[k] groups of 2^k ranks.
using Counts = std::vector<int>;

/// Sequences of each group, largest groups first, as positions in the longest-first order.
using Assignment = std::vector<std::vector<std::size_t>>;

/// Time of one byte that a rank spreads evenly over its group: what stays in the node goes over its links, the rest over the
/// node's cards, which its ranks share. The slowest group of that size counts; kNever if one goes over nodes without cards.
double exchange_seconds_per_byte(const Topology& topology, std::span<const double> card_bytes_per_second, int group_size) {
  double worst = 0;
  for (int first = 0; first + group_size <= topology.num_ranks(); first += group_size) {
    for (int rank = first; rank < first + group_size;) {
      const int n = topology.node_of_rank[rank];
      const Node& node = topology.nodes[n];
      const int end = std::min(first + group_size, node.first_rank + node.num_ranks);
      const double own = end - rank;
      const double inside = (own - 1) / group_size / topology.intra_node_bytes_per_second;
      const double outside = own == group_size ? 0 : (group_size - own) / group_size * node.num_ranks / card_bytes_per_second[n];
      worst = std::max({worst, inside, outside});
      rank = end;
    }
  }
  return worst;
}

class Solver {
 public:
  explicit Solver(const PlacementRequest& request)
      : num_ranks_(request.topology.num_ranks()),
        token_cap_(request.token_cap),
        rates_(cost_rates(request.model, request.topology)) {
    const std::int64_t heads = std::max<std::int64_t>(1, request.model.num_attention_heads);
    const double layers = static_cast<double>(std::max<std::int64_t>(1, request.model.num_layers));
    // Query, key, value and output, forward and backward.
    const double bytes = 2 * layers * (2 * rates_.query_bytes + rates_.key_value_bytes);
    const std::vector<double> cards = node_bytes_per_second(request.topology);
    for (int size = 1; size <= num_ranks_ && heads % size == 0; size *= 2) {
      const double seconds_per_byte = size == 1 ? 0 : exchange_seconds_per_byte(request.topology, cards, size);
      if (seconds_per_byte == kNever) break;
      seconds_per_token_.push_back(bytes / size * seconds_per_byte);
      message_seconds_.push_back(size == 1 ? 0.0 : 8 * layers * rates_.message_seconds);
    }
  }

  int num_sizes() const { return static_cast<int>(seconds_per_token_.size()); }
  std::int64_t longest_possible() const { return num_sizes() == 0 ? 0 : (std::int64_t{1} << (num_sizes() - 1)) * token_cap_; }

  double seconds_of(std::int64_t length, int size_index) const {
    return rates_.sequence_seconds(length) / static_cast<double>(std::int64_t{1} << size_index) +
           seconds_per_token_[size_index] * static_cast<double>(length);
  }

  /// Best groups for sequences of these lengths, which descend, rounded up to classes.
  /// Returns: seconds of the slowest group, kNever if none has room.
  double solve(std::span<const std::int64_t> lengths) {
    const std::int64_t total = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
    return solve_exactly(rounded_to_classes(lengths, kLengthClasses, (total + num_ranks_ * token_cap_) / 2));
  }

  /// As solve, for the lengths themselves.
  double solve_exactly(std::vector<std::int64_t> lengths) {
    lengths_ = std::move(lengths);
    best_ = kNever;
    best_counts_.clear();
    const int k = num_sizes();
    if (num_multisets() <= kMaxMultisets) {
      Counts counts(k, 0);
      enumerate(k - 1, num_ranks_, 1, counts);
      return best_;
    }
    int unit = 1;
    while (unit * 2 * kCoarseUnits <= num_ranks_) unit *= 2;
    Counts counts(k, 0);
    for (int rest = num_ranks_ % unit, i = k - 1; rest > 0 && i >= 0; --i) {
      counts[i] = rest >> i;
      rest -= counts[i] << i;
    }
    enumerate(k - 1, num_ranks_ / unit * unit, unit, counts);
    for (; unit >= 1; unit /= 2) refine(unit);
    return best_;
  }

  const Counts& best_counts() const { return best_counts_; }

  /// Who is in which group of the best multiset.
  Assignment assignment() {
    Assignment result(std::accumulate(best_counts_.begin(), best_counts_.end(), 0));
    fill(best_counts_, kNever, &result);
    return result;
  }

 private:
  struct Group {
    double seconds;
    int index;  ///< groups are numbered from the largest
    std::int64_t tokens;
    bool operator>(const Group& other) const { return seconds != other.seconds ? seconds > other.seconds : index > other.index; }
  };

  /// Ways to write the ranks as a sum of the sizes, or more than kMaxMultisets.
  std::int64_t num_multisets() const {
    std::vector<std::int64_t> ways(num_ranks_ + 1, 0);
    ways[0] = 1;
    for (int k = 0; k < num_sizes(); ++k) {
      for (int sum = 1 << k; sum <= num_ranks_; ++sum) ways[sum] = std::min(kMaxMultisets + 1, ways[sum] + ways[sum - (1 << k)]);
    }
    return ways[num_ranks_];
  }

  /// Tries all ways to give `ranks` more ranks to sizes 2^0..2^k in multiples of `unit`.
  void enumerate(int k, int ranks, int unit, Counts& counts) {
    const int step = std::max(unit, 1 << k);
    if (k == 0) {
      counts[0] += ranks;
      try_counts(counts);
      counts[0] -= ranks;
      return;
    }
    for (int given = ranks / step * step; given >= 0; given -= step) {
      counts[k] += given >> k;
      enumerate(k - 1, ranks - given, unit, counts);
      counts[k] -= given >> k;
    }
  }

  /// Moves about `unit` ranks from one size to another while that helps, the best move first.
  void refine(int unit) {
    if (best_counts_.empty()) return;
    for (bool is_better = true; is_better;) {
      is_better = false;
      const Counts start = best_counts_;
      for (int from = 0; from < num_sizes(); ++from) {
        for (int to = 0; to < num_sizes(); ++to) {
          const int ranks = std::max({unit, 1 << from, 1 << to});
          if (from == to || (static_cast<std::int64_t>(start[from]) << from) < ranks) continue;
          Counts counts = start;
          counts[from] -= ranks >> from;
          counts[to] += ranks >> to;
          is_better = try_counts(counts) || is_better;
        }
      }
    }
  }

  bool try_counts(const Counts& counts) {
    const double seconds = fill(counts, best_, nullptr);
    if (seconds >= best_) return false;
    best_ = seconds;
    best_counts_ = counts;
    return true;
  }

  /// Longest first, each to the group that would end first of those with room.
  /// Returns: seconds of the slowest group, or kNever if there is no room or they would reach `limit`.
  double fill(const Counts& counts, double limit, Assignment* assignment) {
    heaps_.resize(num_sizes());
    int index = 0;
    for (int k = num_sizes() - 1; k >= 0; --k) {
      heaps_[k].clear();
      for (int i = 0; i < counts[k]; ++i) heaps_[k].push_back({0.0, index++, 0});  // ascending: a heap
    }
    double slowest = 0;
    for (std::size_t i = 0; i < lengths_.size(); ++i) {
      const std::int64_t length = lengths_[i];
      int chosen = -1;
      std::size_t chosen_at = 0;
      double chosen_seconds = kNever;
      for (int k = num_sizes() - 1; k >= 0; --k) {
        if (heaps_[k].empty()) continue;
        const std::size_t at = first_with_room(heaps_[k], token_cap_ * (std::int64_t{1} << k) - length);
        if (at == heaps_[k].size()) continue;
        const Group& group = heaps_[k][at];
        const double begin = group.tokens == 0 ? message_seconds_[k] : group.seconds;
        const double end = begin + seconds_of(length, k);
        if (end < chosen_seconds) {
          chosen = k;
          chosen_at = at;
          chosen_seconds = end;
        }
      }
      if (chosen < 0 || chosen_seconds >= limit) return kNever;
      std::vector<Group>& heap = heaps_[chosen];
      if (assignment != nullptr) (*assignment)[heap[chosen_at].index].push_back(i);
      heap[chosen_at].seconds = chosen_seconds;
      heap[chosen_at].tokens += length;
      sift_down(heap, chosen_at);
      slowest = std::max(slowest, chosen_seconds);
    }
    return slowest;
  }

  /// Position of the group that is first by time among those holding at most `most_tokens`; the heap's size if there is none.
  static std::size_t first_with_room(const std::vector<Group>& heap, std::int64_t most_tokens) {
    if (heap[0].tokens <= most_tokens) return 0;
    std::size_t found = heap.size();
    for (std::size_t i = 1; i < heap.size(); ++i) {
      if (heap[i].tokens <= most_tokens && (found == heap.size() || heap[found] > heap[i])) found = i;
    }
    return found;
  }

  /// Restores the order of a binary heap whose entry `at` has grown.
  static void sift_down(std::vector<Group>& heap, std::size_t at) {
    for (;;) {
      std::size_t least = at;
      for (const std::size_t child : {2 * at + 1, 2 * at + 2}) {
        if (child < heap.size() && heap[least] > heap[child]) least = child;
      }
      if (least == at) return;
      std::swap(heap[at], heap[least]);
      at = least;
    }
  }

  int num_ranks_;
  std::int64_t token_cap_;
  CostRates rates_;
  std::vector<double> seconds_per_token_;  ///< by size: the all-to-all, of one token of the pack
  std::vector<double> message_seconds_;    ///< by size: fixed, of a group in use
  std::vector<std::int64_t> lengths_;
  std::vector<std::vector<Group>> heaps_;  ///< by size
  double best_ = kNever;
  Counts best_counts_;
};

std::vector<std::int64_t> lengths_of(const PlacementRequest& request, std::span<const std::int64_t> sequences) {
  std::vector<std::int64_t> lengths;
  for (const std::int64_t s : sequences) lengths.push_back(request.lengths[s]);
  return lengths;
}

/// The solver's last result as work; `order` is what it was given.
Placement placement_of(const PlacementRequest& request, Solver& solver, std::span<const std::int64_t> order) {
  Placement placement;
  const Assignment assignment = solver.assignment();
  std::size_t group = 0;
  int rank = 0;
  for (int k = solver.num_sizes() - 1; k >= 0; --k) {
    const int size = 1 << k;
    for (int i = 0; i < solver.best_counts()[k]; ++i, ++group, rank += size) {
      std::vector<std::int64_t> sequences;
      for (const std::size_t at : assignment[group]) sequences.push_back(order[at]);
      std::sort(sequences.begin(), sequences.end());
      if (sequences.empty()) continue;
      if (size == 1) {
        for (const std::int64_t s : sequences) placement.work.push_back(Ring{s, {rank}, {request.lengths[s]}});
        continue;
      }
      const int heads = static_cast<int>(request.model.num_attention_heads) / size;
      HeadAllToAll work{sequences, std::vector<int>(size), std::vector<int>(size, heads),
                        Pack(sequences, request.lengths).equal_parts(size)};
      std::iota(work.ranks.begin(), work.ranks.end(), rank);
      placement.work.push_back(std::move(work));
    }
  }
  return placement;
}

std::vector<std::int64_t> charged_tokens(const PlacementRequest& request, std::span<const std::int64_t> sequences) {
  const std::int64_t multiple = 2 * static_cast<std::int64_t>(request.topology.num_ranks());
  std::vector<std::int64_t> charged;
  for (const std::int64_t s : sequences) charged.push_back((request.lengths[s] + multiple - 1) / multiple * multiple);
  return charged;
}

[[noreturn]] void refuse(const PlacementRequest& request, const Solver& solver, std::int64_t longest) {
  const int largest = 1 << (solver.num_sizes() - 1);
  throw InfeasiblePlan(
      fmt::format("policy flexsp: no groups of powers of two ranks (at most {} for {} ranks and {} heads, none over nodes "
                  "without cards) have room for {} sequences of "
                  "{} tokens, the longest of {}, under token_cap_per_rank {}; raise the cap or choose a policy with other groups",
                  largest, request.topology.num_ranks(), request.model.num_attention_heads, request.sequences.size(),
                  request.num_tokens(), longest, request.token_cap));
}

/// Descending lengths in at most `num_runs` consecutive runs with the smallest largest sum. Returns: where each run ends.
/// By bisection of that sum, which gives the same sum as the published dynamic program.
std::vector<std::size_t> balanced_runs(std::span<const std::int64_t> lengths, std::int64_t num_runs) {
  const auto cut = [&](std::int64_t most) {
    std::vector<std::size_t> ends;
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      if (sum + lengths[i] > most && i > 0) {
        ends.push_back(i);
        sum = 0;
      }
      sum += lengths[i];
    }
    ends.push_back(lengths.size());
    return ends;
  };
  std::int64_t low = lengths.front();
  std::int64_t high = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
  while (low < high) {
    const std::int64_t middle = low + (high - low) / 2;
    if (static_cast<std::int64_t>(cut(middle).size()) <= num_runs) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return cut(low);
}

}  // namespace

Placement place_flexsp(const PlacementRequest& request) {
  require_room(request, "flexsp");
  if (request.sequences.empty()) return {};
  const std::vector<std::int64_t> order = longest_first_order(request);
  Solver solver(request);
  std::vector<std::int64_t> lengths = lengths_of(request, order);
  // In training there is no further micro-batch for what has room only as it is.
  if (solver.solve(lengths) == kNever && solver.solve_exactly(std::move(lengths)) == kNever)
    refuse(request, solver, request.lengths[order.front()]);
  Placement placement = placement_of(request, solver, order);
  placement.charged_tokens = charged_tokens(request, request.sequences);
  return placement;
}

std::vector<FormedMicroBatch> form_flexsp(const PlacementRequest& request) {
  if (request.sequences.empty()) return {};
  const std::vector<std::int64_t> order = longest_first_order(request);
  const std::vector<std::int64_t> lengths = lengths_of(request, order);
  const std::int64_t num_sequences = static_cast<std::int64_t>(order.size());
  const std::int64_t room = request.token_cap * request.topology.num_ranks();
  Solver solver(request);
  if (lengths.front() > solver.longest_possible()) refuse(request, solver, lengths.front());

  double best_seconds = kNever;
  std::vector<FormedMicroBatch> best;
  int num_compared = 0;
  for (std::int64_t number = (request.num_tokens() + room - 1) / room; number <= num_sequences; ++number) {
    double seconds = 0;
    std::vector<FormedMicroBatch> formed;
    std::size_t begin = 0;
    for (const std::size_t end : balanced_runs(lengths, number)) {
      seconds += solver.solve(std::span(lengths).subspan(begin, end - begin));
      if (seconds == kNever) break;
      const std::span<const std::int64_t> run(order.data() + begin, end - begin);
      formed.push_back({{run.begin(), run.end()}, placement_of(request, solver, run)});
      formed.back().placement.charged_tokens = charged_tokens(request, run);
      begin = end;
    }
    if (seconds < best_seconds) {
      best_seconds = seconds;
      best = std::move(formed);
    }
    num_compared += best_seconds < kNever ? 1 : 0;
    if (num_compared == kMicroBatchNumbers) break;
  }
  if (best.empty()) refuse(request, solver, lengths.front());
  return best;
}

}  // namespace ballast::scheduler
