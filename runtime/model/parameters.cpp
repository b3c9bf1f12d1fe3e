#include "runtime/model/parameters.h"

#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <cmath>
#include <numeric>
#include <stdexcept>

#include "runtime/model/init.h"

namespace ballast::model {
namespace {

enum class Initial { kNormal, kNormalResidual, kOne, kZero };

struct Declaration {
  std::string name;
  std::vector<std::int64_t> global_shape;
  Initial initial;
};

std::vector<Declaration> dense_declarations(const ModelConfig& config) {
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t query_width = config.num_attention_heads * config.head_dim;
  const std::int64_t key_value_width = config.num_key_value_heads * config.head_dim;
  std::vector<Declaration> all;
  all.push_back({"embedding.weight", {config.vocab_size, hidden}, Initial::kNormal});
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
    const auto add = [&](std::string_view part, std::vector<std::int64_t> shape, Initial initial) {
      all.push_back({layer_parameter_name(layer, part), std::move(shape), initial});
    };
    add("attention.norm.weight", {hidden}, Initial::kOne);
    add("attention.query.weight", {query_width, hidden}, Initial::kNormal);
    add("attention.key.weight", {key_value_width, hidden}, Initial::kNormal);
    add("attention.value.weight", {key_value_width, hidden}, Initial::kNormal);
    if (config.attention_bias) {
      add("attention.query.bias", {query_width}, Initial::kZero);
      add("attention.key.bias", {key_value_width}, Initial::kZero);
      add("attention.value.bias", {key_value_width}, Initial::kZero);
    }
    if (config.use_qk_norm) {
      add("attention.query_norm.weight", {config.head_dim}, Initial::kOne);
      add("attention.key_norm.weight", {config.head_dim}, Initial::kOne);
    }
    add("attention.output.weight", {hidden, query_width}, Initial::kNormalResidual);
    add("feed_forward.norm.weight", {hidden}, Initial::kOne);
    if (config.is_moe_layer(layer)) {
      const std::int64_t shared_width = config.num_shared_experts * config.expert_intermediate_size;
      add("router.weight", {config.num_experts, hidden}, Initial::kNormal);
      add("shared_experts.gate_up.weight", {2 * shared_width, hidden}, Initial::kNormal);
      add("shared_experts.down.weight", {hidden, shared_width}, Initial::kNormalResidual);
    } else {
      add("feed_forward.gate_up.weight", {2 * config.intermediate_size, hidden}, Initial::kNormal);
      add("feed_forward.down.weight", {hidden, config.intermediate_size}, Initial::kNormalResidual);
    }
  }
  all.push_back({"final_norm.weight", {hidden}, Initial::kOne});
  if (!config.tie_word_embeddings) all.push_back({"head.weight", {config.vocab_size, hidden}, Initial::kNormal});
  return all;
}

std::vector<Declaration> expert_declarations(const ModelConfig& config) {
  std::vector<Declaration> all;
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
    if (!config.is_moe_layer(layer)) continue;
    all.push_back({layer_parameter_name(layer, "experts.gate_up.weight"),
                   {config.num_experts, 2 * config.expert_intermediate_size, config.hidden_size},
                   Initial::kNormal});
    all.push_back({layer_parameter_name(layer, "experts.down.weight"),
                   {config.num_experts, config.hidden_size, config.expert_intermediate_size},
                   Initial::kNormalResidual});
  }
  return all;
}

/// Lays the declared tensors out in the group's flat buffers and initialises them. Each rank holds the slice
/// `shard` of the first dimension.
void allocate(ParameterGroup& group, const std::vector<Declaration>& declarations, const ModelConfig& config, ExpertShard shard,
              std::uint64_t seed) {
  const auto local_shape = [&](const Declaration& declaration) {
    std::vector<std::int64_t> shape = declaration.global_shape;
    shape[0] /= shard.size;
    return shape;
  };
  const auto count = [](const std::vector<std::int64_t>& shape) {
    return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
  };
  std::int64_t total = 0;
  for (const Declaration& declaration : declarations) total += count(local_shape(declaration));
  group.values = at::zeros({total}, config.dtype);
  group.gradients = at::zeros({total}, config.dtype);

  const double deviation = config.initializer_range;
  const double residual_deviation = deviation / std::sqrt(2.0 * static_cast<double>(config.num_layers));
  std::int64_t offset = 0;
  for (const Declaration& declaration : declarations) {
    const std::vector<std::int64_t> shape = local_shape(declaration);
    const std::int64_t size = count(shape);
    Parameter parameter{
        .name = declaration.name,
        .global_shape = declaration.global_shape,
        .global_begin = size * shard.index,
        .value = group.values.narrow(0, offset, size).view(shape),
        .gradient = group.gradients.narrow(0, offset, size).view(shape),
        .has_weight_decay = declaration.initial == Initial::kNormal || declaration.initial == Initial::kNormalResidual};
    switch (declaration.initial) {
      case Initial::kNormal:
        fill_normal(parameter.value, deviation, seed, parameter.name, parameter.global_begin);
        break;
      case Initial::kNormalResidual:
        fill_normal(parameter.value, residual_deviation, seed, parameter.name, parameter.global_begin);
        break;
      case Initial::kOne:
        parameter.value.fill_(1);
        break;
      case Initial::kZero:
        break;
    }
    group.parameters.push_back(std::move(parameter));
    offset += size;
  }
}

}  // namespace

std::string layer_parameter_name(std::int64_t layer, std::string_view part) { return fmt::format("layers.{}.{}", layer, part); }

Parameters::Parameters(const ModelConfig& config, ExpertShard shard, std::uint64_t seed) {
  if (config.num_experts % shard.size != 0) {
    throw std::invalid_argument(fmt::format("parallel.ep = {} does not divide model.num_experts = {}; choose a divisor of {}",
                                            shard.size, config.num_experts, config.num_experts));
  }
  allocate(dense_, dense_declarations(config), config, ExpertShard{}, seed);
  allocate(experts_, expert_declarations(config), config, shard, seed);
  for (const ParameterGroup* group : {&dense_, &experts_}) {
    for (const Parameter& parameter : group->parameters) by_name_[parameter.name] = {parameter.value, parameter.gradient};
  }
}

Weight Parameters::weight(std::string_view name) const {
  const auto found = by_name_.find(std::string(name));
  TORCH_CHECK(found != by_name_.end(), "no parameter is called ", std::string(name));
  return found->second;
}

void Parameters::zero_gradients() {
  dense_.gradients.zero_();
  experts_.gradients.zero_();
}

}  // namespace ballast::model
