// ballast bench calibrate: what this machine can do, as a cluster file.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>

#include "build_constants.h"
#include "launch/any_world_config.h"
#include "launch/commands/bench.h"
#include "runtime/train/prediction_benchmark.h"
#include "runtime/train/run_config.pb.h"
#include "scheduler/topology/topology_io.h"

namespace ballast::launch {
namespace {

using nlohmann::ordered_json;

constexpr int kPredictedBatches = 20;

const char* kind(const train::MeasuredLink& link) { return link.is_between_nodes ? "between nodes" : "inside a node"; }
const char* company(const train::MeasuredLink& link) { return link.is_alone ? "alone" : "all ranks"; }

ordered_json to_json(const scheduler::FitError& error) {
  return {{"rms_relative", error.rms_relative}, {"worst_relative", error.worst_relative}, {"worst_point", error.worst_point}};
}

ordered_json to_json(const train::Calibration& result) {
  ordered_json json = {{"benchmark", "calibrate"}};
  json["cores"] = cores_json(result.cores);
  json["rounds"] = result.num_rounds;
  for (const train::MeasuredWork& work : result.work) {
    json["work"].push_back({{"documents", work.num_documents},
                            {"document_tokens", work.document_tokens},
                            {"pairs", work.point.pairs},
                            {"tokens", work.point.tokens},
                            {"seconds", work.point.seconds}});
  }
  json["work_fit"] = {{"pair_seconds", result.work_fit.pair_seconds},
                      {"token_seconds", result.work_fit.token_seconds},
                      {"fixed_seconds", result.work_fit.fixed_seconds},
                      {"error", to_json(result.work_fit.error)}};
  for (const train::MeasuredBlock& block : result.blocks) {
    json["attention_blocks"].push_back({{"tokens", block.tokens}, {"layer_pair_seconds", block.pair_seconds}});
  }
  json["links"] = ordered_json::array();
  for (const train::MeasuredLink& link : result.links) {
    ordered_json& row = json["links"].emplace_back(ordered_json{{"between_nodes", link.is_between_nodes},
                                                                {"alone", link.is_alone},
                                                                {"bytes_per_second", link.fit.bytes_per_second},
                                                                {"message_seconds", link.fit.message_seconds},
                                                                {"error", to_json(link.fit.error)}});
    for (const scheduler::MessagePoint& point : link.points) {
      row["points"].push_back({{"bytes", point.bytes}, {"seconds", point.seconds}});
    }
  }
  const scheduler::Topology& topology = result.topology;
  json["cluster"] = {{"attention_flops_per_second", topology.attention_flops_per_second},
                     {"linear_flops_per_second", topology.linear_flops_per_second},
                     {"intra_node_bytes_per_second", topology.intra_node_bytes_per_second},
                     {"message_seconds", topology.message_seconds},
                     {"inter_node_message_seconds", topology.inter_node_message_seconds}};
  json["gemm_flops_per_second_before"] = result.gemm_rate_before;
  json["gemm_flops_per_second_after"] = result.gemm_rate_after;
  json["noisy"] = result.is_noisy;
  return json;
}

void print_error(const scheduler::FitError& error, std::ostream& out) {
  out << fmt::format("fit error {:.1f} % rms, worst {:+.1f} % at point {}\n", 100 * error.rms_relative,
                     100 * error.worst_relative, error.worst_point + 1);
}

void print_table(const train::Calibration& result, std::ostream& out) {
  out << cores_text(result.cores);
  out << fmt::format("work of a rank, forward and backward of all layers and the update, median of {}:\n", result.num_rounds);
  const scheduler::WorkFit& fit = result.work_fit;
  for (std::size_t i = 0; i < result.work.size(); ++i) {
    const train::MeasuredWork& work = result.work[i];
    const double fitted = fit.pair_seconds * static_cast<double>(work.point.pairs) +
                          fit.token_seconds * static_cast<double>(work.point.tokens) + fit.fixed_seconds;
    out << fmt::format("  {:>2}  {:>4} x {:>5} tokens {:>10.3f} ms, fitted {:>10.3f} ms ({:+.1f} %)\n", i + 1, work.num_documents,
                       work.document_tokens, 1e3 * work.point.seconds, 1e3 * fitted, 100 * (fitted / work.point.seconds - 1));
  }
  out << fmt::format("  {:.4g} ns per (query, key) pair, {:.4g} us per token, {:.4g} ms fixed; ", 1e9 * fit.pair_seconds,
                     1e6 * fit.token_seconds, 1e3 * fit.fixed_seconds);
  print_error(fit.error, out);
  out << "one block of attention, one layer:\n";
  for (const train::MeasuredBlock& block : result.blocks) {
    out << fmt::format("  {:>5} queries x keys {:>10.4g} ns per pair\n", block.tokens, 1e9 * block.pair_seconds);
  }
  for (const train::MeasuredLink& link : result.links) {
    out << fmt::format("link {}, {}: {:.4g} MB/s, {:.4g} us per message; ", kind(link), company(link),
                       link.fit.bytes_per_second / 1e6, 1e6 * link.fit.message_seconds);
    print_error(link.fit.error, out);
  }
  out << fmt::format("GEMM rate {:.1f} GFLOP/s before, {:.1f} after{}\n", result.gemm_rate_before / 1e9,
                     result.gemm_rate_after / 1e9, result.is_noisy ? ": noisy, calibrate again" : "");
}

ordered_json to_json(const train::PredictionBenchmark& prediction) {
  ordered_json json;
  json["median_relative_error"] =
      prediction.median_relative_error ? ordered_json(*prediction.median_relative_error) : ordered_json();
  json["batches_kept"] = prediction.num_kept();
  for (const train::PredictedBatch& batch : prediction.batches) {
    json["batches"].push_back({{"sequences", batch.num_sequences},
                               {"tokens", batch.num_tokens},
                               {"longest_tokens", batch.longest_tokens},
                               {"predicted_seconds", batch.predicted_seconds},
                               {"measured_seconds", batch.measured_seconds},
                               {"relative_error", batch.relative_error()},
                               {"gemm_flops_per_second", batch.gemm_rate},
                               {"kept", batch.is_kept}});
  }
  return json;
}

void print_table(const train::PredictionBenchmark& prediction, std::ostream& out) {
  out << fmt::format("{:>5} {:>10} {:>8} {:>8} {:>13} {:>13} {:>8}\n", "batch", "sequences", "tokens", "longest", "predicted (s)",
                     "measured (s)", "error");
  for (std::size_t i = 0; i < prediction.batches.size(); ++i) {
    const train::PredictedBatch& batch = prediction.batches[i];
    out << fmt::format("{:>5} {:>10} {:>8} {:>8} {:>13.4g} {:>13.4g} {:>+7.1f}%{}\n", i + 1, batch.num_sequences,
                       batch.num_tokens, batch.longest_tokens, batch.predicted_seconds, batch.measured_seconds,
                       100 * batch.relative_error(), batch.is_kept ? "" : " discarded: the GEMM rate moved");
  }
  out << (prediction.median_relative_error
              ? fmt::format("median relative error of {} of {} batches: {:.1f} %\n", prediction.num_kept(),
                            prediction.batches.size(), 100 * *prediction.median_relative_error)
              : "no batch is kept: the GEMM rate of this machine moves\n");
}

void write_cluster(const train::Calibration& result, const std::string& model, const std::string& path) {
  std::ofstream file(path, std::ios::binary);
  file << fmt::format(
              "# Measured by `ballast bench calibrate`, ballast {} ({}), {:%Y-%m-%d}, with model {}: {} ranks x {} threads, {}\n"
              "# cores for {} ranks on the first machine. Fit of work {:.1f} % rms; a step has {:.4g} s of fixed cost beside.\n",
              build::kVersion, build::kCommit, fmt::gmtime(std::time(nullptr)), model, result.topology.num_ranks(),
              result.cores.num_threads_per_rank, result.cores.num_cores, result.cores.num_ranks,
              100 * result.work_fit.error.rms_relative, result.work_fit.fixed_seconds)
       << (result.is_noisy ? "# The speed of the machine moved by more than 10 % meanwhile.\n" : "")
       << scheduler::cluster_text(result.topology);
  if (!file.flush()) throw std::runtime_error(fmt::format("{}: the cluster cannot be written", path));
}

}  // namespace

int run_bench_calibrate(const CommandLine& line, comm::Communicator& world) {
  const LoadedConfig loaded = load_config_for_any_world(line.arguments[1], line, world);
  train::Trainer trainer(*loaded.run, world);
  train::Calibration result = train::calibrate(trainer);
  std::optional<train::PredictionBenchmark> prediction;
  if (line.bench) {
    // Batch i: of the run's data those from sample position on, as training takes them.
    std::int64_t position = 0;
    prediction = train::benchmark_prediction(trainer, result, kPredictedBatches, [&](int i) {
      if (!line.lengths_path.empty()) return batch_of(line, loaded.run->data().seed() + static_cast<std::uint64_t>(i), trainer);
      std::vector<data::Sequence> batch = trainer.plan_step(i, position).sequences;
      position += static_cast<std::int64_t>(batch.size());
      return batch;
    });
  }
  if (world.rank() != 0) return 0;
  if (!line.out_path.empty()) {
    result.topology.name = std::filesystem::path(line.out_path).stem().string();
    write_cluster(result, loaded.run->model().name(), line.out_path);
  }
  if (line.json) {
    ordered_json json = to_json(result);
    if (prediction) json["prediction"] = to_json(*prediction);
    *line.output << json.dump() << "\n";
  } else {
    print_table(result, *line.output);
    if (prediction) print_table(*prediction, *line.output);
    if (!line.out_path.empty()) *line.output << fmt::format("written: {}\n", line.out_path);
  }
  return 0;
}

}  // namespace ballast::launch
