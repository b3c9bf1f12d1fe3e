#pragma once
// Text from a model, token by token.
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/comm/mesh.h"
#include "runtime/data/tokenizer.h"
#include "runtime/model/transformer.h"

namespace ballast::schema {
class RunConfig;
}

namespace ballast::generate {

struct SamplingOptions {
  std::int64_t max_new_tokens = 200;
  double temperature = 0.8;  ///< 0: always the most likely token
  std::int64_t top_k = 40;   ///< sample among the most likely; 0: all
  std::uint64_t seed = 1;
  std::int64_t context_tokens = 0;  ///< longest context that the model reads; older tokens are forgotten
  std::int32_t eos = -1;            ///< ends the text
  std::int32_t num_samplable = 0;   ///< tokens [0, num_samplable) may be sampled, and eos; 0: all
};

/// Continues `prompt` (at least one token). All ranks of the mesh call it together; rank 0 computes, the others serve their
/// experts. Returns: the new tokens, without eos; on every rank. Deterministic: the same model, prompt and options give the same
/// tokens.
std::vector<std::int32_t> generate(model::Transformer& transformer, const comm::Mesh& mesh,
                                   const std::vector<std::int32_t>& prompt, const SamplingOptions& options);

/// The same for text: the prompt is preceded by the begin mark of a document.
std::string generate_text(model::Transformer& transformer, const comm::Mesh& mesh, const data::Tokenizer& tokenizer,
                          const std::string& prompt, const SamplingOptions& options);

/// What a run's config says about sampling.
SamplingOptions sampling_options(const schema::RunConfig& config, const data::Tokenizer& tokenizer);

/// One draw: the index of a token.
/// Input: logits [V]; uniform in [0, 1) decides the draw.
std::int32_t sample_token(const at::Tensor& logits_V, const SamplingOptions& options, double uniform);

}  // namespace ballast::generate
