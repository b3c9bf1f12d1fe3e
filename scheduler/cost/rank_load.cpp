#include "scheduler/cost/rank_load.h"

#include <algorithm>

#include "scheduler/cost/seconds.h"
#include "scheduler/plan/layout.h"

namespace ballast::scheduler {

namespace {

class Adder {
 public:
  Adder(const Plan& plan, const ModelShape& model, const Topology& topology, PlanLoad& load)
      : plan_(plan), topology_(topology), load_(load), rates_(cost_rates(model, topology)) {
    num_heads_ = std::max<double>(1, static_cast<double>(model.num_attention_heads));
  }

  void operator()(const Ring& ring) {
    const auto chunks = zigzag_chunks(ring.sequence, ring.shares);
    for (std::size_t i = 0; i < ring.ranks.size(); ++i) {
      add(ring.ranks[i], static_cast<double>(num_pairs(chunks[i][0]) + num_pairs(chunks[i][1])));
    }
    add_zone(ring.ranks, static_cast<double>(plan_.lengths[ring.sequence]));
  }
  void operator()(const HeadRing& ring) {
    const double length = static_cast<double>(plan_.lengths[ring.sequence]);
    std::vector<int> ranks;
    for (const HeadPart& part : ring.parts) {
      const double fraction = (part.head_end - part.head_begin) / num_heads_ *
                              (static_cast<double>(part.query_block_end - part.query_block_begin) / part.num_query_blocks);
      for (std::size_t i = 0; i < part.ranks.size(); ++i) {
        // Zigzag chunks of queries and their mirror see half of all keys on average.
        add(part.ranks[i], fraction * static_cast<double>(part.shares[i]) * (length + 1) / 2);
        ranks.push_back(part.ranks[i]);
      }
    }
    add_zone(ranks, length);
  }
  void operator()(const AllGather& gather) {
    double tokens = 0;
    for (std::size_t i = 0; i < gather.ranks.size(); ++i) {
      for (const Chunk& chunk : gather.queries[i]) {
        add(gather.ranks[i], static_cast<double>(num_pairs(chunk)));
        tokens += static_cast<double>(chunk.end - chunk.begin);
      }
    }
    add_zone(gather.ranks, tokens);
  }
  void operator()(const HeadAllToAll& all_to_all) {
    double pairs = 0, tokens = 0;
    for (const std::int64_t s : all_to_all.sequences) {
      pairs += static_cast<double>(num_pairs({s, 0, plan_.lengths[s]}));
      tokens += static_cast<double>(plan_.lengths[s]);
    }
    for (std::size_t i = 0; i < all_to_all.ranks.size(); ++i)
      add(all_to_all.ranks[i], pairs * all_to_all.num_heads[i] / num_heads_);
    add_zone(all_to_all.ranks, tokens);
  }
  void operator()(const TaskSet& set) {
    for (const AttentionTask& task : set.tasks) {
      double pairs = 0;
      for (const Chunk& chunk : task.queries) pairs += static_cast<double>(num_pairs(chunk));
      add(task.rank, pairs);
      add_zone({task.rank}, static_cast<double>(num_tokens(task.queries)));
    }
  }

  double total_tokens() const { return total_tokens_; }
  const CostRates& rates() const { return rates_; }

 private:
  void add(int rank, double pairs) {
    load_.ranks[rank].attention_seconds += pairs * rates_.pair_seconds;
    ++load_.ranks[rank].num_pieces;
  }
  void add_zone(const std::vector<int>& ranks, double tokens) {
    const auto [lowest, highest] = std::minmax_element(ranks.begin(), ranks.end());
    if (lowest == ranks.end()) return;
    total_tokens_ += tokens;
    const bool is_one_node = topology_.node_of_rank[*lowest] == topology_.node_of_rank[*highest];
    (*lowest == *highest ? load_.local_fraction : is_one_node ? load_.node_fraction : load_.cluster_fraction) += tokens;
  }

  const Plan& plan_;
  const Topology& topology_;
  PlanLoad& load_;
  CostRates rates_;
  double num_heads_ = 1;
  double total_tokens_ = 0;
};

double max_over_mean(const std::vector<RankLoad>& ranks, double (*value)(const RankLoad&)) {
  double worst = 0, sum = 0;
  for (const RankLoad& rank : ranks) {
    worst = std::max(worst, value(rank));
    sum += value(rank);
  }
  return sum > 0 ? worst * static_cast<double>(ranks.size()) / sum : 1;
}

}  // namespace

PlanLoad plan_load(const Plan& plan, const ModelShape& model, const Topology& topology) {
  PlanLoad load;
  load.ranks.resize(topology.num_ranks());
  Adder adder(plan, model, topology, load);
  for (const MicroBatch& micro_batch : plan.micro_batches) {
    std::vector<std::int64_t> held(topology.num_ranks(), 0);
    for (const AttentionWork& work : micro_batch.work) {
      std::visit(adder, work);
      add_attention_tokens(work, held);
    }
    for (int r = 0; r < topology.num_ranks(); ++r) {
      const std::int64_t tokens = num_tokens(micro_batch.homes[r]);
      RankLoad& rank = load.ranks[r];
      rank.tokens += tokens;
      rank.most_tokens = std::max({rank.most_tokens, tokens, held[r]});
      rank.linear_seconds += static_cast<double>(tokens) * adder.rates().token_seconds;
    }
  }
  const double total = std::max(1.0, adder.total_tokens());
  load.local_fraction /= total;
  load.node_fraction /= total;
  load.cluster_fraction /= total;
  load.imbalance = max_over_mean(load.ranks, [](const RankLoad& rank) { return rank.seconds(); });
  load.attention_imbalance = max_over_mean(load.ranks, [](const RankLoad& rank) { return rank.attention_seconds; });
  load.token_imbalance = max_over_mean(load.ranks, [](const RankLoad& rank) { return static_cast<double>(rank.tokens); });
  return load;
}

}  // namespace ballast::scheduler
