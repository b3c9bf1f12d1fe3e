#include "launch/planner_result.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "scheduler/topology/topology_io.h"

namespace ballast::launch {
namespace {

using scheduler::PlannerScore;

struct NumberField {
  const char* name;
  double PlannerScore::*value;
};
/// Absent (null) where a score is 0, which stands for what was not found out.
constexpr NumberField kNumberFields[] = {
    {"makespan_seconds", &PlannerScore::makespan_seconds},
    {"makespan_seconds_attention_overlap_only", &PlannerScore::makespan_seconds_attention_overlap_only},
    {"makespan_over_strict_bound", &PlannerScore::makespan_over_strict_bound},
    {"makespan_over_best_bound", &PlannerScore::makespan_over_best_bound},
    {"makespan_over_strict_bound_attention_overlap_only", &PlannerScore::makespan_over_strict_bound_attention_overlap_only},
    {"imbalance_full", &PlannerScore::imbalance_full},
    {"imbalance_attention", &PlannerScore::imbalance_attention},
    {"tokens_max_over_budget", &PlannerScore::tokens_max_over_budget},
};

/// Every field of the model's shape but its name: a new field does not compile until it is here.
std::string text_of(const scheduler::ModelShape& model) {
  const auto& [name, vocab_size, hidden_size, num_layers, num_attention_heads, num_key_value_heads, head_dim, intermediate_size,
               num_dense_layers, num_experts, experts_per_token, num_shared_experts, expert_intermediate_size, use_qk_norm,
               attention_bias, tie_word_embeddings, element_bytes] = model;
  return fmt::format("{} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {}", vocab_size, hidden_size, num_layers, num_attention_heads,
                     num_key_value_heads, head_dim, intermediate_size, num_dense_layers, num_experts, experts_per_token,
                     num_shared_experts, expert_intermediate_size, use_qk_norm, attention_bias, tie_word_embeddings,
                     element_bytes);
}

std::string text_of(const scheduler::PolicyOptions& options) {
  const auto& [policy, tokens_per_step, tokens_per_micro_batch, token_cap_per_rank, tokens_per_rank, remap, is_routed] = options;
  return fmt::format("{} {} {} {} {} {} {}", policy, tokens_per_step, tokens_per_micro_batch, token_cap_per_rank, tokens_per_rank,
                     static_cast<int>(remap), is_routed ? (*is_routed ? "routed" : "direct") : "as the policy");
}

}  // namespace

std::string PlannerResult::names() const {
  return fmt::format("{} {} {} {} {} {} {} {}", cell.cluster, cell.model, cell.lengths, cell.gpus, cell.tokens, cell.token_cap,
                     row, seed);
}

std::uint64_t input_hash(const scheduler::PlanRequest& request) {
  scheduler::Topology nameless = request.topology;
  nameless.name.clear();
  std::string text = fmt::format("{}\n{}\n{}\n{}\n", scheduler::cluster_text(nameless), text_of(request.model),
                                 text_of(request.options), request.step);
  for (const std::int64_t length : request.lengths) text += fmt::format("{} ", length);
  return XXH3_64bits(text.data(), text.size());
}

std::string json_line(const PlannerResult& result) {
  const PlannerScore& score = result.score;
  nlohmann::ordered_json line = {{"policy", result.row},       {"cluster", result.cell.cluster},
                                 {"model", result.cell.model}, {"lengths", result.cell.lengths},
                                 {"gpus", result.cell.gpus},   {"tokens", result.cell.tokens},
                                 {"seed", result.seed},        {"token_cap", result.cell.token_cap}};
  for (const NumberField& field : kNumberFields) {
    const double value = score.*field.value;
    line[field.name] = value > 0 ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
  }
  const auto if_simulated = [&](auto value) {
    return score.makespan_seconds > 0 ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
  };
  line["exposed_communication_fraction"] = if_simulated(score.exposed_communication_fraction);
  line["is_exact"] = if_simulated(score.is_exact);
  line["simulated_layers"] = if_simulated(score.simulated_layers);
  line["micro_batches"] = score.num_micro_batches;
  line["planning_ms"] = 1e3 * score.planning_seconds;
  line["seconds"] = score.seconds;
  line["inputs"] = fmt::format("{:016x}", result.inputs);
  line["commit"] = result.commit;
  if (!score.refusal.empty()) line["refusal"] = score.refusal;
  return line.dump();
}

PlannerResult planner_result_from(const nlohmann::json& line) {
  PlannerResult result;
  result.row = line.at("policy");
  result.cell = {line.at("cluster"), line.at("model"),  line.at("lengths"),
                 line.at("gpus"),    line.at("tokens"), line.at("token_cap")};
  result.seed = line.at("seed");
  const std::string inputs = line.value("inputs", "");
  std::from_chars(inputs.data(), inputs.data() + inputs.size(), result.inputs, 16);
  result.commit = line.value("commit", "");
  PlannerScore& score = result.score;
  const auto number = [&](const char* name) { return line.at(name).is_null() ? 0.0 : line.at(name).get<double>(); };
  for (const NumberField& field : kNumberFields) score.*field.value = number(field.name);
  score.exposed_communication_fraction = number("exposed_communication_fraction");
  score.num_micro_batches = line.at("micro_batches");
  if (line.contains("is_exact") && !line["is_exact"].is_null()) {
    score.is_exact = line["is_exact"];
    score.simulated_layers = line.at("simulated_layers");
  }
  score.planning_seconds = 1e-3 * line.at("planning_ms").get<double>();
  score.seconds = line.at("seconds");
  score.refusal = line.value("refusal", "");
  return result;
}

}  // namespace ballast::launch
