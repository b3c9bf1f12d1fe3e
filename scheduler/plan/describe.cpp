#include "scheduler/plan/describe.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <type_traits>

namespace ballast::scheduler {

namespace {

/// Sequence by sequence: "sequence 3 [0, 5) [9, 12)".
std::string text(const std::vector<Chunk>& chunks) {
  std::string result;
  std::int64_t sequence = -1;
  for (const Chunk& chunk : chunks) {
    if (chunk.sequence != sequence) result += fmt::format("{}sequence {}", result.empty() ? "" : ", ", chunk.sequence);
    sequence = chunk.sequence;
    result += fmt::format(" [{}, {})", chunk.begin, chunk.end);
  }
  return result.empty() ? "nothing" : result;
}

class WorkLines {
 public:
  WorkLines(int micro_batch, std::vector<std::string>& lines) : micro_batch_(micro_batch), lines_(lines) {}

  void operator()(const Ring& ring) {
    add("ring of sequence {} on ranks {} with shares {}", ring.sequence, fmt::join(ring.ranks, ", "),
        fmt::join(ring.shares, ", "));
  }
  void operator()(const HeadRing& ring) {
    add("sequence {} by heads in {} parts", ring.sequence, ring.parts.size());
    for (const HeadPart& part : ring.parts) {
      add("heads [{}, {}), query blocks [{}, {}) of {} of sequence {} on ranks {} with shares {}", part.head_begin, part.head_end,
          part.query_block_begin, part.query_block_end, part.num_query_blocks, ring.sequence, fmt::join(part.ranks, ", "),
          fmt::join(part.shares, ", "));
    }
  }
  void operator()(const AllGather& gather) {
    add("keys of sequences {} gathered on ranks {}", fmt::join(gather.sequences, ", "), fmt::join(gather.ranks, ", "));
    for (std::size_t i = 0; i < gather.queries.size(); ++i) add("queries of member {}: {}", i, text(gather.queries[i]));
  }
  void operator()(const HeadAllToAll& all_to_all) {
    add("sequences {} by heads on ranks {} with {} heads", fmt::join(all_to_all.sequences, ", "),
        fmt::join(all_to_all.ranks, ", "), fmt::join(all_to_all.num_heads, ", "));
    for (std::size_t i = 0; i < all_to_all.tokens.size(); ++i) add("tokens of member {}: {}", i, text(all_to_all.tokens[i]));
  }
  void operator()(const TaskSet& set) {
    add("{} tasks", set.tasks.size());
    for (const AttentionTask& task : set.tasks)
      add("task of sequence {} on rank {}: {}", task.sequence, task.rank, text(task.queries));
  }

 private:
  template <typename... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    lines_.push_back(fmt::format("micro-batch {}: {}", micro_batch_, fmt::format(format, std::forward<Args>(args)...)));
  }

  int micro_batch_;
  std::vector<std::string>& lines_;
};

std::string text(const Op& op) {
  return std::visit(
      [](const auto& one) -> std::string {
        using One = std::decay_t<decltype(one)>;
        if constexpr (std::is_same_v<One, Forward>) return fmt::format("forward {}", one.micro_batch);
        if constexpr (std::is_same_v<One, Backward>) return fmt::format("backward {}", one.micro_batch);
        if constexpr (std::is_same_v<One, ReduceGradients>) return "reduce gradients";
        if constexpr (std::is_same_v<One, UpdateParameters>) return "update parameters";
        if constexpr (std::is_same_v<One, GatherParameters>) return "gather parameters";
      },
      op);
}

}  // namespace

std::vector<std::string> describe(const Plan& plan) {
  std::vector<std::string> lines;
  lines.push_back(fmt::format("step {} of policy {}{}", plan.step, plan.policy, plan.is_routed ? ", routed" : ""));
  for (std::size_t s = 0; s < plan.lengths.size(); ++s)
    lines.push_back(fmt::format("sequence {}: {} tokens", s, plan.lengths[s]));
  for (std::size_t s = 0; s < plan.charged_tokens.size(); ++s) {
    lines.push_back(fmt::format("sequence {}: {} tokens charged", s, plan.charged_tokens[s]));
  }
  for (std::size_t m = 0; m < plan.micro_batches.size(); ++m) {
    const MicroBatch& micro_batch = plan.micro_batches[m];
    lines.push_back(fmt::format("micro-batch {}: sequences {}", m, fmt::join(micro_batch.sequences, ", ")));
    for (const AttentionWork& work : micro_batch.work) std::visit(WorkLines(static_cast<int>(m), lines), work);
    for (std::size_t r = 0; r < micro_batch.homes.size(); ++r) {
      lines.push_back(fmt::format("micro-batch {}: rank {} is home to {}", m, r, text(micro_batch.homes[r])));
    }
    lines.push_back(
        fmt::format("micro-batch {}: layers read the keys of layers {}", m, fmt::join(micro_batch.kv_source_layer, ", ")));
  }
  for (std::size_t r = 0; r < plan.ranks.size(); ++r) {
    lines.push_back(fmt::format("program of rank {}: {} instructions", r, plan.ranks[r].size()));
    for (std::size_t i = 0; i < plan.ranks[r].size(); ++i) {
      const Instruction& instruction = plan.ranks[r][i];
      lines.push_back(fmt::format("program of rank {}: instruction {}, {}, after {}", r, i, text(instruction.op),
                                  fmt::join(instruction.after, ", ")));
    }
  }
  return lines;
}

}  // namespace ballast::scheduler
