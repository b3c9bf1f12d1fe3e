#pragma once
// Loss on held-out sequences, all ranks together.
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/comm/mesh.h"
#include "runtime/data/prediction_score.h"
#include "runtime/data/sequence_source.h"
#include "runtime/data/tokenizer.h"
#include "runtime/model/transformer.h"
#include "scheduler/make_plan.h"

namespace ballast::eval {

/// The first sequences of a source in plain order, as many as fit into `max_tokens`; at least one. 0: all.
std::vector<data::Sequence> held_out_sequences(const data::SequenceSource& source, std::int64_t max_tokens);

/// Scores sequences under the evaluation rule of the routers. They are placed by the same planner as in training.
/// Input: the planning request of training; its lengths are replaced.
/// Returns: the same on every rank.
data::PredictionScore score_held_out(model::Transformer& transformer, const comm::Mesh& mesh,
                                     std::span<const data::Sequence> sequences, const data::Tokenizer& tokenizer,
                                     scheduler::PlanRequest request);

}  // namespace ballast::eval
