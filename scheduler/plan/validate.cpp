#include "scheduler/plan/validate.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <span>
#include <string>

#include "scheduler/plan/home_index.h"
#include "scheduler/plan/layout.h"

namespace ballast::scheduler {

namespace {

constexpr std::size_t kMaxFindings = 10;

class Findings {
 public:
  template <typename... Args>
  void add(fmt::format_string<Args...> text, Args&&... args) {
    if (texts_.size() < kMaxFindings) texts_.push_back(fmt::format(text, std::forward<Args>(args)...));
  }
  bool empty() const { return texts_.empty(); }
  const std::vector<std::string>& texts() const { return texts_; }

 private:
  std::vector<std::string> texts_;
};

/// Mostly they are in order already.
std::vector<std::int64_t> ascending(std::vector<std::int64_t> sequences) {
  if (!std::is_sorted(sequences.begin(), sequences.end())) std::sort(sequences.begin(), sequences.end());
  return sequences;
}

/// Queries of heads [head_begin, head_end) that someone computes.
struct Coverage {
  Chunk queries;
  int head_begin;
  int head_end;
  std::span<const int> ranks;  ///< who, together
};

class WorkChecker {
 public:
  WorkChecker(const Plan& plan, const PlanLimits& limits, int micro_batch, Findings& findings)
      : plan_(plan), limits_(limits), micro_batch_(micro_batch), findings_(findings) {
    num_heads_ = limits.num_attention_heads;
    if (num_heads_ == 0) {
      num_heads_ = 1;
      for (const AttentionWork& work : plan.micro_batches[micro_batch].work) {
        if (const auto* ring = std::get_if<HeadRing>(&work)) {
          for (const HeadPart& part : ring->parts) num_heads_ = std::max(num_heads_, part.head_end);
        }
      }
    }
  }

  void operator()(const Ring& ring) {
    if (!has_sequence(ring.sequence, "ring") || !has_members(ring.ranks, ring.shares.size(), ring.sequence)) return;
    if (!shares_add_up(ring.shares, ring.ranks, plan_.lengths[ring.sequence], ring.sequence)) return;
    add({ring.sequence, 0, plan_.lengths[ring.sequence]}, ring.ranks);
  }
  void operator()(const HeadRing& ring) {
    if (!has_sequence(ring.sequence, "head ring")) return;
    const std::int64_t length = plan_.lengths[ring.sequence];
    for (const HeadPart& part : ring.parts) {
      if (!has_members(part.ranks, part.shares.size(), ring.sequence)) continue;
      if (part.head_begin < 0 || part.head_begin >= part.head_end || part.head_end > num_heads_) {
        findings_.add("micro-batch {}: a head ring of sequence {} has heads [{}, {}) of {}", micro_batch_, ring.sequence,
                      part.head_begin, part.head_end, num_heads_);
        continue;
      }
      if (part.query_block_begin < 0 || part.query_block_begin >= part.query_block_end ||
          part.query_block_end > part.num_query_blocks) {
        findings_.add("micro-batch {}: a head ring of sequence {} has query blocks [{}, {}) of {}", micro_batch_, ring.sequence,
                      part.query_block_begin, part.query_block_end, part.num_query_blocks);
        continue;
      }
      if (!shares_add_up(part.shares, part.ranks, length, ring.sequence)) continue;
      for (int block = part.query_block_begin; block < part.query_block_end; ++block) {
        for (const Chunk& chunk : query_block_chunks(ring.sequence, length, block, part.num_query_blocks)) {
          coverage_.push_back({chunk, part.head_begin, part.head_end, part.ranks});
        }
      }
    }
  }
  void operator()(const AllGather& gather) {
    if (!has_members(gather.ranks, gather.queries.size(), gather.sequences.empty() ? -1 : gather.sequences.front())) return;
    for (std::size_t i = 0; i < gather.ranks.size(); ++i)
      add_members(gather.queries[i], gather.sequences, std::span(&gather.ranks[i], 1), "an all-gather");
  }
  void operator()(const HeadAllToAll& all_to_all) {
    const std::int64_t first = all_to_all.sequences.empty() ? -1 : all_to_all.sequences.front();
    if (!has_members(all_to_all.ranks, all_to_all.tokens.size(), first)) return;
    std::int64_t heads = 0;
    for (const int count : all_to_all.num_heads) heads += count;
    if (all_to_all.num_heads.size() != all_to_all.ranks.size() || (limits_.num_attention_heads > 0 && heads != num_heads_)) {
      findings_.add("micro-batch {}: an all-to-all over heads gives {} heads to {} ranks; the model has {}", micro_batch_, heads,
                    all_to_all.ranks.size(), num_heads_);
    }
    for (const std::vector<Chunk>& chunks : all_to_all.tokens)
      add_members(chunks, all_to_all.sequences, all_to_all.ranks, "an all-to-all over heads");
  }
  void operator()(const TaskSet& set) {
    for (const AttentionTask& task : set.tasks) {
      if (task.rank < 0 || task.rank >= limits_.num_ranks) {
        findings_.add("micro-batch {}: a task of sequence {} is on rank {}, but there are ranks 0 to {}", micro_batch_,
                      task.sequence, task.rank, limits_.num_ranks - 1);
      }
      add_members(task.queries, std::vector<std::int64_t>{task.sequence}, std::span(&task.rank, 1), "a task");
    }
  }

  /// Every query of every head of the micro-batch's sequences exactly once.
  void finish() {
    std::sort(coverage_.begin(), coverage_.end(), [](const Coverage& a, const Coverage& b) {
      return std::tie(a.queries.sequence, a.queries.begin, a.queries.end, a.head_begin) <
             std::tie(b.queries.sequence, b.queries.begin, b.queries.end, b.head_begin);
    });
    // Sequences in order; within one, sweep over the borders of the chunks.
    const std::vector<std::int64_t> sequences = ascending(plan_.micro_batches[micro_batch_].sequences);
    std::size_t at = 0;
    for (const std::int64_t s : sequences) {
      if (s < 0 || s >= static_cast<std::int64_t>(plan_.lengths.size())) continue;
      while (at < coverage_.size() && coverage_[at].queries.sequence < s) ++at;
      std::size_t end = at;
      while (end < coverage_.size() && coverage_[end].queries.sequence == s) ++end;
      check_sequence(s, at, end);
      at = end;
    }
  }

 private:
  bool has_sequence(std::int64_t s, const char* what) {
    if (s >= 0 && s < static_cast<std::int64_t>(plan_.lengths.size())) return true;
    findings_.add("micro-batch {}: a {} names sequence {}, but the step has {}", micro_batch_, what, s, plan_.lengths.size());
    return false;
  }
  bool has_members(const std::vector<int>& ranks, std::size_t num_shares, std::int64_t sequence) {
    if (ranks.empty() || ranks.size() != num_shares) {
      findings_.add("micro-batch {}: work of sequence {} has {} ranks and {} shares; one share per rank is wanted", micro_batch_,
                    sequence, ranks.size(), num_shares);
      return false;
    }
    std::vector<int>& sorted = sorted_members_;
    sorted = ranks;
    std::sort(sorted.begin(), sorted.end());
    if (sorted.front() < 0 || sorted.back() >= limits_.num_ranks) {
      findings_.add("micro-batch {}: work of sequence {} is on rank {}, but there are ranks 0 to {}", micro_batch_, sequence,
                    sorted.front() < 0 ? sorted.front() : sorted.back(), limits_.num_ranks - 1);
      return false;
    }
    if (const auto twice = std::adjacent_find(sorted.begin(), sorted.end()); twice != sorted.end()) {
      findings_.add("micro-batch {}: work of sequence {} has rank {} twice", micro_batch_, sequence, *twice);
      return false;
    }
    return true;
  }
  bool shares_add_up(const std::vector<std::int64_t>& shares, const std::vector<int>& ranks, std::int64_t length,
                     std::int64_t sequence) {
    std::int64_t sum = 0;
    for (const std::int64_t share : shares) {
      if (share < 0 || share > length) {
        findings_.add("micro-batch {}: a share of sequence {} is {} of {} tokens", micro_batch_, sequence, share, length);
        return false;
      }
      sum += share;
    }
    if (sum == length) return true;
    findings_.add("micro-batch {}: the shares of sequence {} on ranks {} sum to {}, but it has {} tokens", micro_batch_, sequence,
                  fmt::join(ranks, ", "), sum, length);
    return false;
  }
  void add(const Chunk& chunk, std::span<const int> ranks) {
    if (chunk.begin < chunk.end) coverage_.push_back({chunk, 0, num_heads_, ranks});
  }
  void add_members(const std::vector<Chunk>& chunks, const std::vector<std::int64_t>& sequences, std::span<const int> ranks,
                   const char* what) {
    for (const Chunk& chunk : chunks) {
      if (std::find(sequences.begin(), sequences.end(), chunk.sequence) == sequences.end()) {
        findings_.add("micro-batch {}: {} computes sequence {}, which is not one of its own", micro_batch_, what, chunk.sequence);
      } else if (has_sequence(chunk.sequence, what)) {
        if (chunk.begin < 0 || chunk.end < chunk.begin || chunk.end > plan_.lengths[chunk.sequence]) {
          findings_.add("micro-batch {}: {} has tokens [{}, {}) of sequence {}, which has {}", micro_batch_, what, chunk.begin,
                        chunk.end, chunk.sequence, plan_.lengths[chunk.sequence]);
        } else {
          add(chunk, ranks);
        }
      }
    }
  }
  void check_sequence(std::int64_t s, std::size_t begin, std::size_t end) {
    const std::int64_t length = plan_.lengths[s];
    const auto is_whole = [&](const Coverage& item) {
      return item.queries.begin == 0 && item.queries.end == length && item.head_begin == 0 && item.head_end == num_heads_;
    };
    if (end - begin == 1 && is_whole(coverage_[begin])) return;  // as most are
    std::vector<std::int64_t> borders{0, length};
    for (std::size_t i = begin; i < end; ++i) {
      borders.push_back(coverage_[i].queries.begin);
      borders.push_back(coverage_[i].queries.end);
    }
    std::sort(borders.begin(), borders.end());
    borders.erase(std::unique(borders.begin(), borders.end()), borders.end());
    std::vector<std::vector<const Coverage*>> heads(borders.size());
    for (std::size_t i = begin; i < end; ++i) {
      const Coverage& item = coverage_[i];
      for (auto at = std::lower_bound(borders.begin(), borders.end(), item.queries.begin); *at < item.queries.end; ++at) {
        heads[at - borders.begin()].push_back(&item);
      }
    }
    for (std::size_t i = 0; i + 1 < borders.size(); ++i) {
      std::stable_sort(heads[i].begin(), heads[i].end(), [](const Coverage* a, const Coverage* b) {
        return std::tie(a->head_begin, a->head_end) < std::tie(b->head_begin, b->head_end);
      });
      int next = 0;
      const Coverage* before = nullptr;
      for (const Coverage* const item : heads[i]) {
        if (item->head_begin < next) {
          findings_.add("micro-batch {}: queries [{}, {}) of sequence {} are computed twice, on ranks {} and on ranks {}",
                        micro_batch_, borders[i], borders[i + 1], s, fmt::join(before->ranks, ", "),
                        fmt::join(item->ranks, ", "));
          return;
        }
        if (item->head_begin > next) break;
        next = item->head_end;
        before = item;
      }
      if (next != num_heads_) {
        findings_.add("micro-batch {}: queries [{}, {}) of sequence {} are not computed for head {}", micro_batch_, borders[i],
                      borders[i + 1], s, next);
        return;
      }
    }
  }

  const Plan& plan_;
  const PlanLimits& limits_;
  int micro_batch_;
  Findings& findings_;
  int num_heads_;
  std::vector<Coverage> coverage_;
  std::vector<int> sorted_members_;  ///< of the work at hand
};

void check_homes(const Plan& plan, const PlanLimits& limits, int m, Findings& findings) {
  const MicroBatch& micro_batch = plan.micro_batches[m];
  if (static_cast<int>(micro_batch.homes.size()) != limits.num_ranks) {
    findings.add("micro-batch {}: homes for {} ranks, but there are {}", m, micro_batch.homes.size(), limits.num_ranks);
    return;
  }
  for (int r = 0; r < limits.num_ranks; ++r) {
    const std::int64_t tokens = num_tokens(micro_batch.homes[r]);
    if (limits.token_cap_per_rank > 0 && tokens > limits.token_cap_per_rank) {
      findings.add("micro-batch {}: rank {} is home to {} tokens; the cap is {}", m, r, tokens, limits.token_cap_per_rank);
    }
    for (const Chunk& chunk : micro_batch.homes[r]) {
      if (chunk.sequence < 0 || chunk.sequence >= static_cast<std::int64_t>(plan.lengths.size()) || chunk.begin < 0 ||
          chunk.begin >= chunk.end || chunk.end > plan.lengths[chunk.sequence]) {
        findings.add("micro-batch {}: rank {} is home to tokens [{}, {}) of sequence {}, which do not exist", m, r, chunk.begin,
                     chunk.end, chunk.sequence);
        return;
      }
    }
  }
  const HomeIndex index(micro_batch);
  const std::vector<HomeIndex::HomeChunk>& homes = index.chunks();
  const auto add_foreign = [&](const HomeIndex::HomeChunk& home) {
    findings.add("micro-batch {}: rank {} is home to tokens of sequence {}, which is not part of it", m, home.rank,
                 home.sequence);
  };
  const std::vector<std::int64_t> sequences = ascending(micro_batch.sequences);
  std::size_t at = 0;
  for (const std::int64_t s : sequences) {
    if (s < 0 || s >= static_cast<std::int64_t>(plan.lengths.size())) continue;
    if (at < homes.size() && homes[at].sequence < s) return add_foreign(homes[at]);
    std::int64_t next = 0;
    for (; at < homes.size() && homes[at].sequence == s; ++at) {
      const HomeIndex::HomeChunk& chunk = homes[at];
      if (chunk.begin < next) {
        findings.add("micro-batch {}: token {} of sequence {} has two homes, ranks {} and {}", m, chunk.begin, s,
                     homes[at - 1].rank, chunk.rank);
        return;
      }
      if (chunk.begin > next) break;
      next = chunk.end;
    }
    if (next != plan.lengths[s]) {
      findings.add("micro-batch {}: token {} of sequence {} has no home", m, next, s);
      return;
    }
  }
  if (at < homes.size()) add_foreign(homes[at]);
}

void check_programs(const Plan& plan, const PlanLimits& limits, Findings& findings) {
  if (static_cast<int>(plan.ranks.size()) != limits.num_ranks) {
    findings.add("programs for {} ranks, but there are {}", plan.ranks.size(), limits.num_ranks);
    return;
  }
  const int num_micro_batches = static_cast<int>(plan.micro_batches.size());
  std::vector<int> forward_at, backward_at;
  for (int r = 0; r < limits.num_ranks; ++r) {
    forward_at.assign(num_micro_batches, -1);
    backward_at.assign(num_micro_batches, -1);
    int num_reduce = 0, num_update = 0, num_gather = 0;
    for (int i = 0; i < static_cast<int>(plan.ranks[r].size()); ++i) {
      const Instruction& instruction = plan.ranks[r][i];
      for (const int before : instruction.after) {
        if (before < 0 || before >= i)
          findings.add("program of rank {}: instruction {} waits for {}, which does not come before it", r, i, before);
      }
      const auto note = [&](std::vector<int>& place, int m, const char* what) {
        if (m < 0 || m >= num_micro_batches) {
          findings.add("program of rank {}: {} of micro-batch {}, but there are {}", r, what, m, num_micro_batches);
        } else if (place[m] >= 0) {
          findings.add("program of rank {}: {} of micro-batch {} twice", r, what, m);
        } else {
          place[m] = i;
        }
      };
      if (const auto* forward = std::get_if<Forward>(&instruction.op)) note(forward_at, forward->micro_batch, "forward");
      if (const auto* backward = std::get_if<Backward>(&instruction.op)) {
        note(backward_at, backward->micro_batch, "backward");
        if (backward->micro_batch >= 0 && backward->micro_batch < num_micro_batches && forward_at[backward->micro_batch] < 0) {
          findings.add("program of rank {}: backward of micro-batch {} before its forward", r, backward->micro_batch);
        }
      }
      num_reduce += std::holds_alternative<ReduceGradients>(instruction.op);
      num_update += std::holds_alternative<UpdateParameters>(instruction.op);
      num_gather += std::holds_alternative<GatherParameters>(instruction.op);
    }
    for (int m = 0; m < num_micro_batches; ++m) {
      if (forward_at[m] < 0 || backward_at[m] < 0) {
        findings.add("program of rank {}: micro-batch {} has no {}", r, m, forward_at[m] < 0 ? "forward" : "backward");
      }
    }
    if (num_reduce != 1 || num_update != 1 || num_gather != 1) {
      findings.add("program of rank {}: {} reductions, {} updates and {} gathers; one of each is wanted", r, num_reduce,
                   num_update, num_gather);
    }
  }
}

}  // namespace

void validate(const Plan& plan, const PlanLimits& limits) {
  Findings findings;
  std::vector<int> micro_batch_of(plan.lengths.size(), -1);
  for (std::size_t s = 0; s < plan.lengths.size(); ++s) {
    if (plan.lengths[s] < 1 || plan.lengths[s] > kMostTokens) {
      findings.add("sequence {} has {} tokens; a sequence has 1 to {}", s, plan.lengths[s], kMostTokens);
    }
  }
  if (!plan.charged_tokens.empty() && plan.charged_tokens.size() != plan.lengths.size()) {
    findings.add("charged tokens for {} sequences, but the step has {}", plan.charged_tokens.size(), plan.lengths.size());
  }
  for (std::size_t m = 0; m < plan.micro_batches.size(); ++m) {
    const MicroBatch& micro_batch = plan.micro_batches[m];
    for (const std::int64_t s : micro_batch.sequences) {
      if (s < 0 || s >= static_cast<std::int64_t>(plan.lengths.size())) {
        findings.add("micro-batch {}: sequence {} does not exist; the step has {}", m, s, plan.lengths.size());
      } else if (micro_batch_of[s] >= 0) {
        findings.add("sequence {} is in micro-batches {} and {}", s, micro_batch_of[s], m);
      } else {
        micro_batch_of[s] = static_cast<int>(m);
      }
    }
    WorkChecker checker(plan, limits, static_cast<int>(m), findings);
    for (const AttentionWork& work : micro_batch.work) std::visit(checker, work);
    if (findings.empty()) checker.finish();
    if (findings.empty() && limits.token_cap_per_rank > 0) {
      std::vector<std::int64_t> tokens(limits.num_ranks, 0);
      for (const AttentionWork& work : micro_batch.work) add_attention_tokens(work, tokens);
      for (int r = 0; r < limits.num_ranks; ++r) {
        if (tokens[r] > limits.token_cap_per_rank) {
          findings.add("micro-batch {}: rank {} holds {} tokens in attention; the cap is {}", m, r, tokens[r],
                       limits.token_cap_per_rank);
        }
      }
    }
    check_homes(plan, limits, static_cast<int>(m), findings);
    if (static_cast<std::int64_t>(micro_batch.kv_source_layer.size()) != limits.num_layers) {
      findings.add("micro-batch {}: key/value sources for {} layers, but the model has {}", m, micro_batch.kv_source_layer.size(),
                   limits.num_layers);
    }
    for (std::size_t l = 0; l < micro_batch.kv_source_layer.size(); ++l) {
      const int source = micro_batch.kv_source_layer[l];
      if (source < 0 || source > static_cast<int>(l)) {
        findings.add("micro-batch {}: layer {} reads keys of layer {}; it must be the layer itself or an earlier one", m, l,
                     source);
      }
    }
  }
  for (std::size_t s = 0; s < plan.lengths.size(); ++s) {
    if (micro_batch_of[s] < 0) findings.add("sequence {} is in no micro-batch", s);
  }
  check_programs(plan, limits, findings);
  if (!findings.empty()) throw InvalidPlan(fmt::format("plan of step {}: {}", plan.step, fmt::join(findings.texts(), "; ")));
}

}  // namespace ballast::scheduler
