#include "runtime/model/packed_batch.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <map>

namespace ballast::model {

using scheduler::Chunk;

PackOptions pack_options(const scheduler::ModelShape& model, const scheduler::Topology& topology) {
  PackOptions options;
  options.heads = {static_cast<int>(model.num_attention_heads), static_cast<int>(model.num_key_value_heads)};
  options.node_of_rank = topology.node_of_rank;
  return options;
}

PackedBatch pack(const scheduler::Plan& plan, int micro_batch, int rank, std::span<const SequenceTokens> sequences,
                 const PackOptions& options) {
  const scheduler::MicroBatch& batch = plan.micro_batches.at(static_cast<std::size_t>(micro_batch));
  TORCH_CHECK(sequences.size() == plan.lengths.size(), "pack: ", sequences.size(), " sequences given, the plan has ",
              plan.lengths.size());

  PackedBatch packed;
  packed.kv_source_layer = batch.kv_source_layer;
  packed.attention = std::make_shared<AttentionProgram>(batch, options.heads, options.node_of_rank, rank, options.order,
                                                        options.most_rows_per_block);
  std::map<std::int64_t, std::int64_t> first_row;  // of each sequence in the global micro-batch
  for (const std::int64_t sequence : batch.sequences) {
    first_row[sequence] = packed.num_global_tokens;
    packed.num_global_tokens += plan.lengths[static_cast<std::size_t>(sequence)];
  }
  for (const std::vector<Chunk>& home : batch.homes) {
    std::vector<std::int64_t>& rows = packed.global_row.emplace_back();
    for (const Chunk& chunk : home) {
      for (std::int64_t position = chunk.begin; position < chunk.end; ++position) {
        rows.push_back(first_row.at(chunk.sequence) + position);
      }
    }
  }

  const std::int64_t num_tokens = packed.attention->num_rows();
  packed.token_T = at::empty({num_tokens}, at::kLong);
  packed.target_T = at::empty({num_tokens}, at::kLong);
  packed.position_T = at::empty({num_tokens}, at::kLong);
  std::int64_t* token = packed.token_T.data_ptr<std::int64_t>();
  std::int64_t* target = packed.target_T.data_ptr<std::int64_t>();
  std::int64_t* position_of = packed.position_T.data_ptr<std::int64_t>();
  for (const Chunk& chunk : packed.attention->chunks_by_row()) {
    const SequenceTokens& sequence = sequences[static_cast<std::size_t>(chunk.sequence)];
    for (std::int64_t position = chunk.begin; position < chunk.end; ++position) {
      *token++ = sequence.inputs[static_cast<std::size_t>(position)];
      *target++ = sequence.targets[static_cast<std::size_t>(position)];
      *position_of++ = position;
      packed.own_global_row.push_back(first_row.at(chunk.sequence) + position);
    }
  }
  if (packed.attention->rows(scheduler::TokenGroup::kLate).num() > 0) {
    packed.home_row_T = at::empty({num_tokens}, at::kLong);
    std::int64_t* home_row = packed.home_row_T.data_ptr<std::int64_t>();
    for (const Chunk& chunk : batch.homes[static_cast<std::size_t>(rank)]) {
      packed.attention->for_each_run(chunk, [&](std::int64_t row, std::int64_t, std::int64_t num_rows) {
        home_row = std::generate_n(home_row, num_rows, [&] { return row++; });
      });
    }
  }
  return packed;
}

}  // namespace ballast::model
