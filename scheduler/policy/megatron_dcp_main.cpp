#include "scheduler/policy/megatron_dcp_main.h"

#include <algorithm>
#include <set>

#include "scheduler/policy/rank_groups.h"

namespace ballast::scheduler {

namespace {

constexpr const char* kName = "megatron_dcp_main";
constexpr double kSlack = 0.05;        ///< of the largest load: the range that counts as level
constexpr double kBucketExcess = 1.1;  ///< of the mean work of a bucket

/// A sequence with its degree g and the load w that it is to each member.
struct Item {
  std::int64_t sequence;
  int size;
  double load;
};

class Round {
 public:
  Round(const PlacementRequest& request, std::vector<Item>& waiting)
      : request_(request), waiting_(waiting), num_ranks_(request.topology.num_ranks()), num_free_(num_ranks_) {}

  GroupRound run() {
    fill_buckets();
    place();
    std::vector<Item> left_over;
    for (std::size_t b = 0; b < buckets_.size(); ++b) {
      left_over.insert(left_over.end(), buckets_[b].begin() + static_cast<std::ptrdiff_t>(heads_[b]), buckets_[b].end());
    }
    trim(left_over);
    if (!fill_free_ranks(round_, num_ranks_)) {
      const auto smallest = std::min_element(round_.groups.begin(), round_.groups.end(),
                                             [](const RankGroup& a, const RankGroup& b) { return a.num_ranks < b.num_ranks; });
      smallest->num_ranks += num_ranks_ - round_.num_ranks();
    }
    waiting_ = std::move(left_over);
    return std::move(round_);
  }

 private:
  void fill_buckets() {
    std::set<int> sizes;
    double total = 0;
    for (const Item& item : waiting_) {
      sizes.insert(item.size);
      total += item.load;
    }
    const double target = total / static_cast<double>(sizes.size());
    std::int64_t num_to_open = static_cast<std::int64_t>(sizes.size());
    std::vector<Item> bucket;
    double work = 0;
    for (std::size_t i = 0; i < waiting_.size(); ++i) {
      // The published count falls by two with each closed bucket; kept, as it decides where buckets close.
      const bool is_last_chance =
          static_cast<std::int64_t>(waiting_.size() - i) <= num_to_open - static_cast<std::int64_t>(buckets_.size());
      if (!bucket.empty() && (work + waiting_[i].load > target * kBucketExcess || is_last_chance)) {
        buckets_.push_back(std::move(bucket));
        bucket.clear();
        work = 0;
        --num_to_open;
      }
      bucket.push_back(waiting_[i]);
      work += waiting_[i].load;
    }
    if (!bucket.empty()) buckets_.push_back(std::move(bucket));
    heads_.assign(buckets_.size(), 0);
  }

  /// The least-loaded group of exactly `size` ranks; the number of groups if there is none.
  std::size_t least_loaded(int size) const {
    std::size_t best = round_.groups.size();
    for (std::size_t g = 0; g < round_.groups.size(); ++g) {
      if (round_.groups[g].num_ranks == size &&
          (best == round_.groups.size() || round_.groups[g].load < round_.groups[best].load)) {
        best = g;
      }
    }
    return best;
  }

  double largest_load() const {
    double result = 0;
    for (const RankGroup& group : round_.groups) result = std::max(result, group.load);
    return result;
  }
  double smallest_load() const {
    if (num_free_ > 0) return 0;
    double result = round_.groups.front().load;
    for (const RankGroup& group : round_.groups) result = std::min(result, group.load);
    return result;
  }

  void place() {
    int first_size = 0;
    bool has_fallen = false;
    while (true) {
      std::size_t b = 0;
      for (; b < buckets_.size(); ++b) {
        if (heads_[b] == buckets_[b].size()) continue;
        const int size = buckets_[b][heads_[b]].size;
        if (num_free_ >= size || least_loaded(size) < round_.groups.size()) break;
      }
      if (b == buckets_.size()) return;
      const Item item = buckets_[b][heads_[b]++];
      if (first_size == 0) first_size = item.size;
      std::size_t g = least_loaded(item.size);
      // A group that exists has load, so free ranks are less loaded.
      if (num_free_ >= item.size) {
        g = round_.groups.size();
        round_.groups.push_back({item.size, {}, 0, 0, 0});
        num_free_ -= item.size;
      }
      round_.groups[g].add(item.sequence, request_.lengths[item.sequence]);
      has_fallen = has_fallen || item.size < first_size;
      bool has_more = false;
      for (std::size_t i = 0; i < buckets_.size(); ++i) has_more = has_more || heads_[i] < buckets_[i].size();
      if (has_fallen && has_more && largest_load() - smallest_load() <= kSlack * largest_load()) return;
    }
  }

  void trim(std::vector<Item>& left_over) {
    while (true) {
      const double largest = largest_load(), smallest = smallest_load();
      if (largest - smallest <= kSlack * largest || smallest == 0) return;
      std::size_t g = 0;
      while (round_.groups[g].load < largest) ++g;
      RankGroup& group = round_.groups[g];
      if (group.sequences.size() <= 1) return;
      const std::int64_t newest = group.sequences.back();
      const double before = group.load;
      group.load -= group_load(request_.lengths[newest], group.num_ranks);
      if (largest_load() - smallest_load() >= largest - smallest) {
        group.load = before;
        return;
      }
      left_over.push_back({newest, group.num_ranks, group_load(request_.lengths[newest], group.num_ranks)});
      group.sequences.pop_back();
    }
  }

  const PlacementRequest& request_;
  std::vector<Item>& waiting_;
  int num_ranks_;
  int num_free_;
  GroupRound round_;
  std::vector<std::vector<Item>> buckets_;
  std::vector<std::size_t> heads_;  ///< by bucket: first item that is not placed
};

std::vector<GroupRound> rounds(const PlacementRequest& request) {
  const std::int64_t budget = request.token_budget();
  std::vector<Item> waiting;
  for (const std::int64_t s : longest_first_order(request)) {
    const int size = group_size(request, s, budget, kName);
    waiting.push_back({s, size, group_load(request.lengths[s], size)});
  }
  std::vector<GroupRound> result;
  while (!waiting.empty()) result.push_back(Round(request, waiting).run());
  return result;
}

}  // namespace

Placement place_megatron_dcp_main(const PlacementRequest& request) {
  require_room(request, kName);
  return merged(rounds(request), request, kName);
}

std::vector<FormedMicroBatch> form_megatron_dcp_main(const PlacementRequest& request) {
  return as_micro_batches(rounds(request), request);
}

}  // namespace ballast::scheduler
