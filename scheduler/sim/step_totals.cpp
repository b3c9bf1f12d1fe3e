#include "scheduler/sim/step_totals.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <limits>
#include <stdexcept>

namespace ballast::scheduler {
namespace {

/// By how much times go on growing: the median growth, as what comes late once is often made up for by the next ones; of two
/// steps at a time if those differ less than a quarter as much, as with layers that are slow and fast in turns.
/// Input: two times or more.
Ticks lasting_growth(const std::vector<Ticks>& times) {
  const auto median = [](std::vector<Ticks>& values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
  };
  Ticks result = 0, least = 0;
  for (std::size_t span = 1; span <= 2 && span < times.size(); ++span) {
    std::vector<Ticks> growths;
    for (std::size_t t = span; t < times.size(); ++t) growths.push_back((times[t] - times[t - span]) / static_cast<Ticks>(span));
    const Ticks growth = median(growths);
    for (Ticks& value : growths) value = std::abs(value - growth);
    const Ticks distance = median(growths);
    if (span > 1 && distance >= least / 4) break;
    result = growth;
    least = distance;
  }
  return result;
}

void add_bytes(std::int64_t& sum, std::int64_t bytes, int times) {
  const __int128 result = sum + static_cast<__int128>(bytes) * times;
  if (result > std::numeric_limits<std::int64_t>::max()) refuse_bytes(static_cast<double>(result));
  sum = static_cast<std::int64_t>(result);
}

/// Sorts messages and makes one of the parts of a routed one.
void join_parts(std::vector<PlanMessage>& messages) {
  std::sort(messages.begin(), messages.end());
  std::size_t kept = 0;
  for (const PlanMessage& message : messages) {
    PlanMessage like = message;
    if (kept > 0) like.bytes = messages[kept - 1].bytes;
    if (kept > 0 && messages[kept - 1] == like) {
      messages[kept - 1].bytes += message.bytes;
    } else {
      messages[kept++] = message;
    }
  }
  messages.resize(kept);
}

/// The parts that a step's totals are made of, in ticks by rank.
class Totals {
 public:
  Totals(const LinearKernels& kernels, const Topology& topology, const std::vector<RankState>& ranks)
      : kernels_(kernels), topology_(topology), attention_(ranks.size(), 0), linear_(ranks.size(), 0) {
    for (const RankState& rank : ranks) {
      end_.push_back(rank.end);
      barrier_.push_back(rank.barrier_idle);
    }
    simulation_.nics.resize(topology.nic_groups.size());
  }

  void add(const PassInstance& instance, bool records_messages) {
    if (instance.pass == Pass::kForward) {
      simulation_.num_simulated_layers = std::max(simulation_.num_simulated_layers, static_cast<int>(instance.layers.size()));
    }
    for (const LayerRun& run : instance.runs.runs) {
      if (run.num_skipped > 0) add_skipped(instance, run);
    }
    for (int s = 0; s < static_cast<int>(instance.segments.size()); ++s) {
      for (int r = 0; r < num_ranks(); ++r) {
        linear_[r] = later(linear_[r], linear_ticks(instance, s, r), instance.runs.multiplicity(s));
      }
    }
    for (int l = 0; l < static_cast<int>(instance.layers.size()); ++l) {
      for (int r = 0; r < num_ranks(); ++r) {
        attention_[r] = later(attention_[r], attention_ticks(instance, l, r), instance.runs.multiplicity(l));
      }
      add_messages(instance, l, records_messages);
    }
  }

  Simulation result(const std::vector<RankState>& ranks) {
    for (int r = 0; r < num_ranks(); ++r) {
      RankTime& rank = simulation_.ranks.emplace_back();
      rank.attention_seconds = to_seconds(attention_[r]);
      rank.linear_seconds = to_seconds(linear_[r]);
      rank.barrier_seconds = to_seconds(barrier_[r]);
      rank.most_buffer_bytes = ranks[r].most_buffer_bytes;
      rank.most_deferred_layers = ranks[r].most_deferred;
      rank.end_seconds = to_seconds(end_[r]);
      rank.exposed_seconds = to_seconds(std::max<Ticks>(0, end_[r] - later(attention_[r], linear_[r]) - barrier_[r]));
      simulation_.makespan_seconds = std::max(simulation_.makespan_seconds, rank.end_seconds);
    }
    join_parts(simulation_.messages);
    return std::move(simulation_);
  }

 private:
  int num_ranks() const { return static_cast<int>(end_.size()); }

  Ticks attention_ticks(const PassInstance& instance, int position, int rank) const {
    const PassProgram& program = *instance.layers[position].program;
    Ticks result = 0;
    for (int t = program.first_task[rank]; t < program.first_task[rank + 1]; ++t) {
      result = later(result, program.tasks[t].ticks);
    }
    return result;
  }
  Ticks linear_ticks(const PassInstance& instance, int position, int rank) const {
    const Segment& segment = instance.segments[position];
    return later(kernels_.segment_ticks(*instance.program, segment, rank),
                 kernels_.weight_ticks(*instance.program, segment, rank));
  }

  /// Lets every rank take as long for each of the layers that a run leaves out as for those in the later half, but not longer
  /// than the rank that comes last took: who waits less now will have to wait for that one. And not shorter than it is busy: who
  /// was early at first cannot stay ahead.
  void add_skipped(const PassInstance& instance, const LayerRun& run) {
    const int last = run.first + (run.num_simulated - 1) * run.period;
    const int times = std::max(1, run.num_simulated / 2);
    const auto position = [&](int time) { return last - (times - time) * run.period; };
    std::vector<Ticks> entries(static_cast<std::size_t>(times) + 1);
    for (int t = 0; t <= times; ++t) {
      for (const LayerState::Rank& rank : instance.layers[position(t)].ranks) entries[t] = std::max(entries[t], rank.entry);
    }
    const Ticks latest = lasting_growth(entries);
    for (int r = 0; r < num_ranks(); ++r) {
      Ticks busy = 0;
      for (int p = last - run.period + 1; p <= last; ++p) {
        busy = later(later(busy, attention_ticks(instance, p, r)), linear_ticks(instance, p, r));
      }
      for (int t = 0; t <= times; ++t) entries[t] = instance.layers[position(t)].ranks[r].entry;
      const Ticks growth = std::max(busy, std::min(latest, lasting_growth(entries)));
      end_[r] = later(end_[r], growth, run.num_skipped);
      const Ticks idle = instance.layers[last].ranks[r].barrier_idle - instance.layers[position(0)].ranks[r].barrier_idle;
      barrier_[r] = later(barrier_[r], part_of(idle, run.num_skipped, times));
      for (int t = 0; t < times; ++t) simulation_.is_exact = simulation_.is_exact && entries[t + 1] - entries[t] == growth;
    }
  }

  void add_messages(const PassInstance& instance, int position, bool records_messages) {
    const PassProgram& program = *instance.layers[position].program;
    const int times = instance.runs.multiplicity(position);
    for (const ProgramMessage& message : program.messages) {
      simulation_.num_messages += times;
      add_bytes(simulation_.message_bytes, message.bytes, times);
      if (topology_.is_between_nodes(message.src_proxy, message.dst_proxy)) {
        add_bytes(simulation_.nics[topology_.nic_group_of_rank[message.src_proxy]].sent, message.bytes, times);
        add_bytes(simulation_.nics[topology_.nic_group_of_rank[message.dst_proxy]].received, message.bytes, times);
      }
      if (records_messages) {
        const ProgramExchange& exchange = program.exchanges[message.src_exchange];
        simulation_.messages.push_back({instance.micro_batch, instance.pass, instance.runs.layers[position], exchange.stage,
                                        exchange.queue, exchange.round, message.src, message.dst, message.bytes});
      }
    }
  }

  const LinearKernels& kernels_;
  const Topology& topology_;
  Simulation simulation_;
  std::vector<Ticks> end_, barrier_, attention_, linear_;
};

}  // namespace

void refuse_bytes(double bytes) {
  throw std::invalid_argument(fmt::format(
      "simulation: the step sends {} bytes; at most {} are counted. Make it smaller: fewer tokens, or a policy that sends less",
      bytes, std::numeric_limits<std::int64_t>::max()));
}

Simulation step_totals(const std::vector<PassInstance>& instances, const std::vector<RankState>& ranks,
                       const LinearKernels& kernels, const Topology& topology, bool records_messages) {
  Totals totals(kernels, topology, ranks);
  for (const PassInstance& instance : instances) totals.add(instance, records_messages);
  return totals.result(ranks);
}

}  // namespace ballast::scheduler
