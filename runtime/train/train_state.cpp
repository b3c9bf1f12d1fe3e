#include "runtime/train/train_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "build_constants.h"
#include "runtime/model/tensor_buffer.h"

namespace ballast::train {
namespace {

using checkpoint::TensorKind;

/// A tensor of the run and where it is stored.
struct Stored {
  std::string name;
  TensorKind kind;
  std::vector<std::int64_t> global_shape;
  std::int64_t begin;
  at::Tensor tensor;
  bool is_replicated;
};

/// Values and moments as sharded by the optimizer, and the routers' state, which every rank has in full.
std::vector<Stored> stored_tensors(Trainer& trainer) {
  std::vector<Stored> all;
  for (const optim::StatePiece& piece : trainer.optimizer().state()) {
    const bool is_weight = piece.kind == "value";
    all.push_back({is_weight ? piece.name : fmt::format("{}.{}", piece.kind, piece.name),
                   is_weight ? TensorKind::kWeight : TensorKind::kOptimizer, piece.global_shape, piece.global_begin, piece.tensor,
                   false});
  }
  const std::vector<model::Router*> routers = trainer.transformer().routers();
  for (std::size_t layer = 0; layer < routers.size(); ++layer) {
    if (!routers[layer]) continue;
    for (const model::RouterState& state : routers[layer]->state()) {
      all.push_back({model::layer_parameter_name(static_cast<std::int64_t>(layer), "router." + state.name), TensorKind::kRouter,
                     state.tensor.sizes().vec(), 0, state.tensor, true});
    }
  }
  return all;
}

template <class Value>
Value state_value(const checkpoint::TrainingPoint& point, const std::string& key) {
  const auto found = point.state.find(key);
  if (found == point.state.end() || !std::holds_alternative<Value>(found->second)) {
    throw checkpoint::LoadError(fmt::format("checkpoint of step {}: the state has no '{}' of the wanted type", point.step, key));
  }
  return std::get<Value>(found->second);
}

void read(Trainer& trainer, const checkpoint::Checkpoint& checkpoint, std::span<const TensorKind> kinds) {
  std::vector<checkpoint::Wanted> wanted;
  for (const Stored& stored : stored_tensors(trainer)) {
    if (std::ranges::find(kinds, stored.kind) == kinds.end()) continue;
    wanted.push_back({stored.name, stored.begin, model::buffer(stored.tensor)});
  }
  checkpoint.read(trainer.world(), wanted, kinds);
  trainer.optimizer().gather_parameters();
}

}  // namespace

checkpoint::Saved save(Trainer& trainer, const Progress& progress, const checkpoint::SaveOptions& options,
                       checkpoint::TrainingPoint point) {
  point.step = progress.step;
  point.consumed_samples = progress.consumed_samples;
  point.libraries = {{"ballast", build::kVersion}, {"torch", build::kTorchVersion}};
  point.mesh = {{"dp", trainer.world().size()}, {"ep", trainer.mesh().ep().size()}};
  point.state = {{"consumed_tokens", progress.consumed_tokens},
                 {"skipped_steps", progress.skipped_steps},
                 {"worst_load_above_minimum", progress.worst_load_above_minimum},
                 {"worst_load_max_over_mean", progress.worst_load_max_over_mean},
                 {"num_updates", trainer.optimizer().num_updates()},
                 {"data_fingerprint", fmt::format("{:016x}", trainer.corpus().fingerprint)}};
  std::vector<checkpoint::Piece> pieces;
  for (const Stored& stored : stored_tensors(trainer)) {
    pieces.push_back(
        {stored.name, stored.kind, stored.global_shape, stored.begin, model::buffer(stored.tensor), stored.is_replicated});
  }
  return checkpoint::save(trainer.world(), options, point, pieces);
}

Progress resume(Trainer& trainer, const checkpoint::Checkpoint& checkpoint) {
  const checkpoint::TrainingPoint& point = checkpoint.manifest().point;
  const std::string fingerprint = fmt::format("{:016x}", trainer.corpus().fingerprint);
  const std::string saved_fingerprint = state_value<std::string>(point, "data_fingerprint");
  if (fingerprint != saved_fingerprint) {
    throw std::invalid_argument(
        fmt::format("{}: the data changed since the run was saved (fingerprint {} then, {} now); resume needs the same documents",
                    checkpoint.folder().string(), saved_fingerprint, fingerprint));
  }
  constexpr std::array kinds = {TensorKind::kWeight, TensorKind::kOptimizer, TensorKind::kRouter};
  read(trainer, checkpoint, kinds);
  trainer.optimizer().set_num_updates(state_value<std::int64_t>(point, "num_updates"));
  return {.step = point.step,
          .consumed_samples = point.consumed_samples,
          .consumed_tokens = state_value<std::int64_t>(point, "consumed_tokens"),
          .skipped_steps = state_value<std::int64_t>(point, "skipped_steps"),
          .worst_load_above_minimum = state_value<std::int64_t>(point, "worst_load_above_minimum"),
          .worst_load_max_over_mean = state_value<double>(point, "worst_load_max_over_mean")};
}

void load_model(Trainer& trainer, const checkpoint::Checkpoint& checkpoint) {
  constexpr std::array kinds = {TensorKind::kWeight, TensorKind::kRouter};
  read(trainer, checkpoint, kinds);
}

}  // namespace ballast::train
