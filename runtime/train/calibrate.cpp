#include "runtime/train/calibrate.h"

#include <ATen/ops/randn.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

#include "kernels/attention/attention.h"
#include "runtime/train/timed_step.h"

namespace ballast::train {
namespace {

using Clock = std::chrono::steady_clock;
using scheduler::MessagePoint;
using scheduler::Topology;

constexpr int kRounds = 5;
constexpr double kSecondsPerGemmShape = 0.1;
constexpr double kNoise = 0.1;
constexpr std::int64_t kMessageBytes[] = {1 << 10, 1 << 13, 1 << 16, 1 << 19, 1 << 22};
/// Messages of one measurement: small ones often enough to be seen.
std::int64_t num_messages(std::int64_t bytes) { return std::clamp<std::int64_t>((1 << 22) / bytes, 4, 64); }

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

/// Of the slowest rank, the same on every rank.
double slowest(comm::Communicator& world, double seconds) {
  world.all_reduce({&seconds, 1, comm::Dtype::kFloat64}, comm::ReduceOp::kMax).wait();
  return seconds;
}

/// Documents of a rank. Short and long ones tell tokens and pairs apart; the smallest step is what is left without either.
std::vector<MeasuredWork> work_sizes(std::int64_t longest) {
  std::vector<MeasuredWork> sizes;
  for (const auto& [num, tokens] : {std::array<std::int64_t, 2>{1, 16},
                                    {longest / 256, 64},
                                    {longest / 64, 64},
                                    {longest / 256, 256},
                                    {1, longest / 4},
                                    {1, longest / 2},
                                    {1, longest}}) {
    MeasuredWork& size = sizes.emplace_back();
    size.num_documents = std::max<std::int64_t>(1, num);
    size.document_tokens = tokens;
    size.point.tokens = size.num_documents * tokens;
    size.point.pairs = size.num_documents * (tokens * (tokens + 1) / 2);
  }
  return sizes;
}

std::vector<MeasuredWork> measure_work(Trainer& trainer, std::int64_t longest) {
  std::vector<MeasuredWork> work = work_sizes(longest);
  std::vector<Step> steps;
  for (const MeasuredWork& size : work) steps.push_back(equal_step(trainer, size.num_documents, size.document_tokens));
  std::vector<std::vector<double>> seconds(work.size());
  for (int round = -1; round < kRounds; ++round) {
    for (std::size_t i = 0; i < work.size(); ++i) {
      const double step_seconds = run_timed(trainer, steps[i], nullptr).seconds();
      if (round >= 0) seconds[i].push_back(step_seconds);
    }
  }
  for (std::size_t i = 0; i < work.size(); ++i) work[i].point.seconds = median(std::move(seconds[i]));
  return work;
}

std::vector<MeasuredBlock> measure_blocks(Trainer& trainer, std::int64_t longest) {
  const c10::InferenceMode no_autograd;
  const model::ModelConfig& config = trainer.transformer().config();
  const double scale = 1 / std::sqrt(static_cast<double>(config.head_dim));
  std::vector<MeasuredBlock> blocks;
  for (std::int64_t tokens = 32; tokens <= longest / 2; tokens *= 4) {
    const auto rows = [&](std::int64_t heads) { return at::randn({tokens, heads, config.head_dim}, config.dtype); };
    const at::Tensor q = rows(config.num_attention_heads), k = rows(config.num_key_value_heads),
                     v = rows(config.num_key_value_heads);
    const auto both_passes = [&] {
      const kernels::Attention o = kernels::attention_block(q, k, v, tokens, 0, scale);
      kernels::attention_block_backward(q, q, k, v, o.o_TNH, o.lse_TN, tokens, 0, scale);
    };
    const std::int64_t repeats = std::clamp<std::int64_t>(longest * longest / (tokens * tokens) / 16, 1, 64);
    std::vector<double> seconds;
    for (int round = -1; round < kRounds; ++round) {
      trainer.world().barrier();
      const Clock::time_point begin = Clock::now();
      for (std::int64_t i = 0; i < repeats; ++i) both_passes();
      const double block_seconds = slowest(trainer.world(), seconds_since(begin)) / static_cast<double>(repeats);
      if (round >= 0) seconds.push_back(block_seconds);
    }
    blocks.push_back({tokens, median(std::move(seconds)) / static_cast<double>(tokens * tokens)});
  }
  return blocks;
}

/// Who sends to whom: each rank to the next one of its node, or to its like on the next node. Nothing: the cluster has no such
/// link.
std::vector<std::array<int, 2>> pairs_of(const Topology& topology, bool is_between_nodes, bool is_alone) {
  std::vector<std::array<int, 2>> pairs;
  for (int n = 0; n < topology.num_nodes(); ++n) {
    const scheduler::Node& node = topology.nodes[n];
    const scheduler::Node& next = topology.nodes[(n + 1) % topology.num_nodes()];
    if (is_between_nodes ? topology.num_nodes() < 2 : node.num_ranks < 2) continue;
    for (int i = 0; i < node.num_ranks; ++i) {
      const int dst = is_between_nodes ? next.first_rank + i % next.num_ranks : node.first_rank + (i + 1) % node.num_ranks;
      pairs.push_back({node.first_rank + i, dst});
    }
  }
  if (is_alone && !pairs.empty()) pairs = {pairs[0], {pairs[0][1], pairs[0][0]}};
  return pairs;
}

/// Seconds of one message, all pairs at the same time; of the slowest rank.
double message_seconds(comm::Communicator& world, const std::vector<std::array<int, 2>>& pairs, std::int64_t bytes,
                       std::vector<std::uint8_t>& sent, std::vector<std::uint8_t>& received) {
  std::vector<comm::Send> sends;
  std::vector<comm::Receive> receives;
  for (const auto& [src, dst] : pairs) {
    if (src == world.rank()) sends.push_back({dst, comm::buffer(std::span<const std::uint8_t>(sent).first(bytes))});
    if (dst == world.rank()) {
      // Nodes of different sizes: several ranks may send to one.
      receives.push_back(
          {src, comm::buffer(std::span(received).subspan(receives.size() * static_cast<std::size_t>(bytes), bytes))});
    }
  }
  world.barrier();
  const Clock::time_point begin = Clock::now();
  const std::int64_t num = num_messages(bytes);
  for (std::int64_t i = 0; i < num; ++i) world.exchange(sends, receives).wait();
  return slowest(world, seconds_since(begin)) / static_cast<double>(num);
}

std::vector<MeasuredLink> measure_links(comm::Communicator& world, const Topology& topology) {
  const std::int64_t largest = *std::ranges::max_element(kMessageBytes);
  std::vector<std::uint8_t> sent(static_cast<std::size_t>(largest));
  std::vector<std::uint8_t> received(static_cast<std::size_t>(largest * topology.num_ranks()));
  std::vector<MeasuredLink> links;
  for (const bool is_between_nodes : {false, true}) {
    for (const bool is_alone : {false, true}) {
      const std::vector<std::array<int, 2>> pairs = pairs_of(topology, is_between_nodes, is_alone);
      if (pairs.empty()) continue;
      std::vector<std::vector<double>> seconds(std::size(kMessageBytes));
      for (int round = -1; round < kRounds; ++round) {
        for (std::size_t i = 0; i < seconds.size(); ++i) {
          const double one = message_seconds(world, pairs, kMessageBytes[i], sent, received);
          if (round >= 0) seconds[i].push_back(one);
        }
      }
      MeasuredLink& link = links.emplace_back();
      link.is_between_nodes = is_between_nodes;
      link.is_alone = is_alone;
      for (std::size_t i = 0; i < seconds.size(); ++i) link.points.push_back({kMessageBytes[i], median(std::move(seconds[i]))});
      link.fit = scheduler::fit_link(link.points);
    }
  }
  return links;
}

/// A card carries what the ranks that use it send at the same time.
void set_cards(Topology& topology, double bytes_per_second_per_rank) {
  for (scheduler::Node& node : topology.nodes) {
    if (node.num_nics == 0) continue;
    const scheduler::NicGroup& group =
        topology.nic_groups[static_cast<std::size_t>(topology.nic_group_of_rank[static_cast<std::size_t>(node.first_rank)])];
    node.nic_bytes_per_second = bytes_per_second_per_rank * static_cast<double>(group.ranks.size()) / group.num_nics;
  }
  scheduler::number_ranks(topology);
}

}  // namespace

Calibration calibrate(Trainer& trainer) {
  const scheduler::PlanRequest& planning = trainer.planning();
  // As long as the run's longest sequences, within what takes seconds.
  const std::int64_t longest = std::clamp<std::int64_t>(trainer.corpus().train.longest_tokens(), 1024, 4096) / 1024 * 1024;
  Calibration result;
  result.cores = core_share(trainer.world());
  result.num_rounds = kRounds;
  result.topology = planning.topology;

  result.gemm_rate_before = trainer.measure_gemm_rate(kSecondsPerGemmShape);
  result.work = measure_work(trainer, longest);
  result.blocks = measure_blocks(trainer, longest);
  result.links = measure_links(trainer.world(), planning.topology);
  result.gemm_rate_after = trainer.measure_gemm_rate(kSecondsPerGemmShape);
  result.is_noisy = std::abs(result.gemm_rate_before - result.gemm_rate_after) >
                    kNoise * std::max(result.gemm_rate_before, result.gemm_rate_after);

  std::vector<scheduler::WorkPoint> points;
  for (const MeasuredWork& work : result.work) points.push_back(work.point);
  result.work_fit = scheduler::fit_work(points);
  scheduler::set_rates(result.topology, planning.model, result.work_fit);
  for (const MeasuredLink& link : result.links) {
    if (link.is_alone) continue;
    if (link.is_between_nodes) {
      set_cards(result.topology, link.fit.bytes_per_second);
      result.topology.inter_node_message_seconds = link.fit.message_seconds;
    } else {
      result.topology.intra_node_bytes_per_second = link.fit.bytes_per_second;
      result.topology.message_seconds = link.fit.message_seconds;
    }
  }
  return result;
}

}  // namespace ballast::train
