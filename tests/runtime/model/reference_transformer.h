#pragma once
// The decoder as plain differentiable tensor operations, document by document, every expert on every token: slow and
// obvious. Autograd on it is the oracle for the explicit backward passes.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tril.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "runtime/model/model_config.h"
#include "runtime/model/packed_batch.h"
#include "runtime/model/parameters.h"

namespace ballast::model::reference {

class Transformer {
 public:
  /// Leaves that require gradients, copied from a model's parameters (one rank).
  Transformer(const ModelConfig& config, Parameters& parameters) : config_(config) {
    for (ParameterGroup* group : {&parameters.dense(), &parameters.experts()}) {
      for (const Parameter& parameter : group->parameters) {
        leaves[parameter.name] = parameter.value.detach().clone().requires_grad_(true);
      }
    }
  }

  /// Losses of all tokens, [T]. expert_TK[layer] are the chosen experts of the MoE layers.
  at::Tensor losses(const PackedBatch& batch, const std::map<std::int64_t, at::Tensor>& expert_TK) {
    at::Tensor x = leaves.at("embedding.weight").index_select(0, batch.token_T);
    std::vector<std::pair<at::Tensor, at::Tensor>> key_value;
    for (std::int64_t layer = 0; layer < config_.num_layers; ++layer) {
      const auto w = [&](std::string_view part) { return leaves.at(layer_parameter_name(layer, part)); };
      const at::Tensor normed = rms_norm(x, w("attention.norm.weight"));
      const auto heads = [&](const std::string& which, std::int64_t count, bool positioned) {
        at::Tensor projected = at::matmul(normed, w("attention." + which + ".weight").t());
        if (config_.attention_bias) projected = projected + w("attention." + which + ".bias");
        projected = projected.view({-1, count, config_.head_dim});
        if (!positioned) return projected;
        if (config_.use_qk_norm) projected = rms_norm(projected, w("attention." + which + "_norm.weight"));
        return rotate(projected, batch.position_T);
      };
      const at::Tensor q = heads("query", config_.num_attention_heads, true);
      key_value.emplace_back(heads("key", config_.num_key_value_heads, true), heads("value", config_.num_key_value_heads, false));
      const auto& [k, v] = key_value.at(static_cast<std::size_t>(batch.kv_source_layer.at(static_cast<std::size_t>(layer))));
      x = x + at::matmul(attention(q, k, v, batch.attention->whole_documents().at(0).offsets).flatten(1),
                         w("attention.output.weight").t());

      const at::Tensor hidden = rms_norm(x, w("feed_forward.norm.weight"));
      if (!config_.is_moe_layer(layer)) {
        x = x + feed_forward(hidden, w("feed_forward.gate_up.weight"), w("feed_forward.down.weight"));
        continue;
      }
      const at::Tensor scores = at::sigmoid(at::matmul(hidden, w("router.weight").t()));
      at::Tensor weight = scores.gather(1, expert_TK.at(layer));
      if (config_.norm_topk_prob) weight = weight / (weight.sum(1, true) + 1e-20);
      weight = weight * config_.routed_scaling_factor;
      const at::Tensor dense_weight = at::zeros_like(scores).scatter(1, expert_TK.at(layer), weight);
      at::Tensor out = feed_forward(hidden, w("shared_experts.gate_up.weight"), w("shared_experts.down.weight"));
      for (std::int64_t expert = 0; expert < config_.num_experts; ++expert) {
        out = out +
              feed_forward(hidden, w("experts.gate_up.weight").select(0, expert), w("experts.down.weight").select(0, expert)) *
                  dense_weight.select(1, expert).unsqueeze(1);
      }
      x = x + out;
    }
    const at::Tensor head = leaves.at(config_.tie_word_embeddings ? "embedding.weight" : "head.weight");
    const at::Tensor logits = at::matmul(rms_norm(x, leaves.at("final_norm.weight")), head.t());
    return -at::log_softmax(logits, 1).gather(1, batch.target_T.unsqueeze(1)).squeeze(1);
  }

  std::map<std::string, at::Tensor> leaves;

 private:
  at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight) const {
    return x * at::rsqrt(x.pow(2).mean(-1, true) + config_.rms_norm_eps) * weight;
  }
  at::Tensor feed_forward(const at::Tensor& x, const at::Tensor& gate_up, const at::Tensor& down) const {
    const std::vector<at::Tensor> halves = at::matmul(x, gate_up.t()).chunk(2, 1);
    return at::matmul(at::silu(halves[0]) * halves[1], down.t());
  }
  at::Tensor rotate(const at::Tensor& x, const at::Tensor& position) const {
    const at::Tensor exponent = at::arange(0, config_.head_dim, 2, x.options().requires_grad(false)) / config_.head_dim;
    const at::Tensor angle = at::outer(position.to(x.scalar_type()), at::pow(config_.rope_theta, -exponent)).unsqueeze(1);
    const std::vector<at::Tensor> halves = x.chunk(2, 2);
    return at::cat({halves[0] * angle.cos() - halves[1] * angle.sin(), halves[1] * angle.cos() + halves[0] * angle.sin()}, 2);
  }
  at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                       const std::vector<std::int64_t>& offsets) const {
    const std::int64_t repeats = config_.num_attention_heads / config_.num_key_value_heads;
    std::vector<at::Tensor> documents;
    for (std::size_t d = 0; d + 1 < offsets.size(); ++d) {
      const std::int64_t length = offsets[d + 1] - offsets[d];
      const auto rows = [&](const at::Tensor& x) { return x.narrow(0, offsets[d], length).transpose(0, 1); };
      const at::Tensor scores = at::matmul(rows(q), rows(k.repeat_interleave(repeats, 1)).transpose(1, 2)) /
                                std::sqrt(static_cast<double>(config_.head_dim));
      const at::Tensor hidden = at::ones({length, length}, at::kBool).tril().logical_not();
      const at::Tensor weights = at::softmax(scores.masked_fill(hidden, -std::numeric_limits<double>::infinity()), -1);
      documents.push_back(at::matmul(weights, rows(v.repeat_interleave(repeats, 1))).transpose(0, 1));
    }
    return at::cat(documents, 0);
  }

  ModelConfig config_;
};

}  // namespace ballast::model::reference
