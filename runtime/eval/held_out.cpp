#include "runtime/eval/held_out.h"

#include <ATen/ops/sum.h>

#include "runtime/data/corpus.h"

namespace ballast::eval {

std::vector<data::Sequence> held_out_sequences(const data::SequenceSource& source, std::int64_t max_tokens) {
  std::vector<data::Sequence> sequences;
  std::int64_t num_tokens = 0;
  for (std::int64_t i = 0; i < source.num_sequences(); ++i) {
    if (max_tokens > 0 && i > 0 && num_tokens + source.length(i) > max_tokens) break;
    num_tokens += source.length(i);
    sequences.push_back(source.sequence(i));
  }
  return sequences;
}

data::PredictionScore score_held_out(model::Transformer& transformer, const comm::Mesh& mesh,
                                     std::span<const data::Sequence> sequences, const data::Tokenizer& tokenizer,
                                     scheduler::PlanRequest request) {
  comm::Communicator& world = mesh.dp();
  const model::PackOptions options = model::pack_options(request.model, request.topology);
  data::PredictionScore result;
  for (std::size_t first = 0; first < sequences.size();) {
    std::vector<model::SequenceTokens> batch;
    request.lengths.clear();
    std::int64_t num_tokens = 0;
    for (; first < sequences.size(); ++first) {
      const data::Sequence& sequence = sequences[first];
      if (!batch.empty() && num_tokens + sequence.length() > request.options.tokens_per_step) break;
      num_tokens += sequence.length();
      request.lengths.push_back(sequence.length());
      batch.push_back({sequence.inputs(), sequence.targets()});
      result.num_bytes += data::num_target_bytes(sequence, tokenizer);
    }
    result.num_targets += num_tokens;
    const scheduler::Plan plan = scheduler::make_plan(request);
    for (int micro_batch = 0; micro_batch < static_cast<int>(plan.micro_batches.size()); ++micro_batch) {
      const at::Tensor loss_T = transformer.evaluate(model::pack(plan, micro_batch, world.rank(), batch, options));
      result.nats += loss_T.sum(at::kDouble).item<double>();
    }
  }
  world.all_reduce({&result.nats, 1, comm::Dtype::kFloat64}, comm::ReduceOp::kSum).wait();
  return result;
}

}  // namespace ballast::eval
