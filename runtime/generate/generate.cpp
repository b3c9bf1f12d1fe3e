#include "runtime/generate/generate.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "runtime/train/run_config.pb.h"
#include "scheduler/plan/kv_sources.h"

namespace ballast::generate {
namespace {

/// The last tokens of the text as rank 0's only document; other ranks hold nothing.
model::PackedBatch context_batch(const std::vector<std::int32_t>& text, const SamplingOptions& options,
                                 const comm::Communicator& world, const model::ModelConfig& config) {
  const std::int64_t length = std::min<std::int64_t>(static_cast<std::int64_t>(text.size()), options.context_tokens);
  scheduler::Plan plan;
  plan.lengths = {length};
  scheduler::MicroBatch& micro_batch = plan.micro_batches.emplace_back();
  micro_batch.sequences = {0};
  micro_batch.work = {scheduler::Ring{0, {0}, {length}}};
  micro_batch.homes.resize(static_cast<std::size_t>(world.size()));
  micro_batch.homes[0] = {{0, 0, length}};
  micro_batch.kv_source_layer = scheduler::kv_sources(config.num_layers);
  const std::span<const std::int32_t> context(text.end() - length, text.end());
  const model::SequenceTokens sequence{context, context};  // targets are not read
  model::PackOptions pack_options;
  pack_options.heads = {static_cast<int>(config.num_attention_heads), static_cast<int>(config.num_key_value_heads)};
  pack_options.node_of_rank.resize(static_cast<std::size_t>(world.size()));
  return model::pack(plan, 0, world.rank(), std::span(&sequence, 1), pack_options);
}

}  // namespace

std::int32_t sample_token(const at::Tensor& logits_V, const SamplingOptions& options, double uniform) {
  struct Candidate {
    double logit;
    std::int32_t token;
  };
  std::vector<Candidate> candidates;
  const at::Tensor logits = logits_V.to(at::kDouble).contiguous();
  for (std::int32_t token = 0; token < logits.size(0); ++token) {
    const bool is_samplable = options.num_samplable == 0 || token < options.num_samplable || token == options.eos;
    if (is_samplable) candidates.push_back({logits.data_ptr<double>()[token], token});
  }
  TORCH_CHECK(!candidates.empty(), "sample_token: no token may be sampled");
  // Most likely first; equal ones by token, so that a draw does not depend on the sort.
  std::ranges::sort(candidates, [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
  });
  if (options.temperature == 0) return candidates.front().token;
  if (options.top_k > 0 && static_cast<std::size_t>(options.top_k) < candidates.size()) {
    candidates.resize(static_cast<std::size_t>(options.top_k));
  }
  std::vector<double> weights;
  for (const Candidate& candidate : candidates) {
    weights.push_back(std::exp((candidate.logit - candidates.front().logit) / options.temperature));
  }
  double left = uniform * std::accumulate(weights.begin(), weights.end(), 0.0);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    left -= weights[i];
    if (left < 0) return candidates[i].token;
  }
  return candidates.back().token;
}

std::vector<std::int32_t> generate(model::Transformer& transformer, const comm::Mesh& mesh,
                                   const std::vector<std::int32_t>& prompt, const SamplingOptions& options) {
  TORCH_CHECK(!prompt.empty() && options.context_tokens > 0, "generate needs a prompt of at least one token and a context");
  comm::Communicator& world = mesh.dp();
  std::vector<std::int32_t> text = prompt;
  std::mt19937_64 generator(options.seed);
  for (std::int64_t i = 0; i < options.max_new_tokens; ++i) {
    const at::Tensor logits = transformer.next_token_logits(context_batch(text, options, world, transformer.config()));
    const double uniform = static_cast<double>(generator() >> 11) * 0x1.0p-53;
    std::int32_t token = world.rank() == 0 ? sample_token(logits, options, uniform) : 0;
    world.broadcast({&token, 1, comm::Dtype::kInt32}, 0).wait();
    if (token == options.eos) break;
    text.push_back(token);
  }
  return {text.begin() + static_cast<std::ptrdiff_t>(prompt.size()), text.end()};
}

std::string generate_text(model::Transformer& transformer, const comm::Mesh& mesh, const data::Tokenizer& tokenizer,
                          const std::string& prompt, const SamplingOptions& options) {
  std::vector<std::int32_t> tokens = tokenizer.encode(prompt);
  tokens.insert(tokens.begin(), tokenizer.bos());
  return tokenizer.decode(generate(transformer, mesh, tokens, options));
}

SamplingOptions sampling_options(const schema::RunConfig& config, const data::Tokenizer& tokenizer) {
  const schema::Generate& message = config.generate();
  return {.max_new_tokens = message.max_new_tokens(),
          .temperature = message.temperature(),
          .top_k = message.top_k(),
          .seed = message.seed(),
          .context_tokens = config.model().max_position_embeddings(),
          .eos = tokenizer.eos(),
          .num_samplable = static_cast<std::int32_t>(tokenizer.vocab_size())};
}

}  // namespace ballast::generate
