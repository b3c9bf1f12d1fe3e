#include "runtime/optim/zero_adamw.h"

#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "runtime/optim/grad_clip.h"

namespace ballast::optim {
namespace {

comm::Buffer buffer(const at::Tensor& tensor) {
  return {tensor.mutable_data_ptr(), tensor.numel(),
          tensor.scalar_type() == at::kDouble ? comm::Dtype::kFloat64 : comm::Dtype::kFloat32, comm::Device::kHost};
}

void check_group(const ReplicatedGroup& source) {
  if (source.group == nullptr || source.replicas == nullptr) {
    throw std::invalid_argument("ZeroAdamw: a group or its communicator is missing");
  }
  const model::ParameterGroup& group = *source.group;
  const auto fail = [&](const std::string& what) {
    throw std::invalid_argument(fmt::format("ZeroAdamw: group '{}': {}", group.name, what));
  };
  for (const at::Tensor& flat : {group.values, group.gradients}) {
    if (!flat.defined() || flat.dim() != 1 || !flat.is_contiguous() || !flat.is_cpu() ||
        (flat.scalar_type() != at::kFloat && flat.scalar_type() != at::kDouble)) {
      fail("values and gradients must be flat, contiguous, on the CPU, float32 or float64");
    }
  }
  if (group.gradients.numel() != group.values.numel() || group.gradients.scalar_type() != group.values.scalar_type()) {
    fail(fmt::format("{} gradients for {} values, or another type", group.gradients.numel(), group.values.numel()));
  }
  std::int64_t next = 0;
  for (const model::Parameter& parameter : group.parameters) {
    const std::int64_t value_begin = parameter.value.storage_offset() - group.values.storage_offset();
    const std::int64_t gradient_begin = parameter.gradient.storage_offset() - group.gradients.storage_offset();
    if (!parameter.value.is_alias_of(group.values) || !parameter.gradient.is_alias_of(group.gradients) || value_begin != next ||
        gradient_begin != next || parameter.gradient.numel() != parameter.value.numel()) {
      fail(
          fmt::format("parameter '{}' should start at element {} of values and gradients; it starts at {} and {}, with {} and {} "
                      "elements",
                      parameter.name, next, value_begin, gradient_begin, parameter.value.numel(), parameter.gradient.numel()));
    }
    next += parameter.value.numel();
  }
  if (next != group.values.numel())
    fail(fmt::format("its parameters have {} elements, its buffers {}", next, group.values.numel()));
}

}  // namespace

ZeroAdamw::Shard ZeroAdamw::make_shard(const ReplicatedGroup& source) {
  check_group(source);
  const model::ParameterGroup& group = *source.group;
  Shard shard;
  shard.source = source;
  shard.layout = make_shard_layout(group.values.numel(), source.replicas->size());
  shard.begin = shard.layout.begins[source.replicas->rank()];
  shard.count = shard.layout.counts[source.replicas->rank()];
  shard.value = group.values.narrow(0, shard.begin, shard.count);
  shard.gradient = source.replicas->size() == 1 ? group.gradients : at::zeros({shard.count}, group.gradients.options());
  shard.exp_avg = at::zeros({shard.count}, group.values.options());
  shard.exp_avg_sq = at::zeros({shard.count}, group.values.options());

  std::int64_t next = -shard.begin;
  for (const model::Parameter& parameter : group.parameters) {
    const std::int64_t begin = std::max<std::int64_t>(0, next);
    next += parameter.value.numel();
    const std::int64_t count = std::min(next, shard.count) - begin;
    if (count <= 0) continue;
    if (!shard.runs.empty() && shard.runs.back().has_weight_decay == parameter.has_weight_decay) {
      shard.runs.back().count += count;
    } else {
      shard.runs.push_back({begin, count, parameter.has_weight_decay});
    }
  }
  return shard;
}

ZeroAdamw::ZeroAdamw(std::vector<ReplicatedGroup> groups, comm::Communicator& world, const AdamwOptions& options)
    : world_(world), options_(options) {
  for (const ReplicatedGroup& source : groups) shards_.push_back(make_shard(source));
}

void ZeroAdamw::reduce_gradients() {
  for (const Shard& shard : shards_) {
    if (shard.source.replicas->size() == 1) continue;
    shard.source.replicas
        ->reduce_scatter(buffer(shard.source.group->gradients), buffer(shard.gradient), shard.layout.counts, comm::ReduceOp::kSum)
        .wait();
  }
}

double ZeroAdamw::global_norm() const {
  double sum = 0;
  for (const Shard& shard : shards_) sum += sum_of_squares(shard.gradient);
  world_.all_reduce({&sum, 1, comm::Dtype::kFloat64}, comm::ReduceOp::kSum).wait();
  return std::sqrt(sum);
}

double ZeroAdamw::clip_gradients() {
  const double norm = global_norm();
  const double factor = clip_factor(norm, options_.clip_norm);
  if (factor != 1.0) {
    for (Shard& shard : shards_) shard.gradient.mul_(factor);
  }
  return norm;
}

void ZeroAdamw::update(double learning_rate) {
  ++num_updates_;
  const at::Tensor step = at::full({}, static_cast<double>(num_updates_), at::kFloat);
  for (Shard& shard : shards_) {
    for (const Shard::Run& run : shard.runs) {
      const auto part = [&](const at::Tensor& flat) { return flat.narrow(0, run.begin, run.count); };
      at::_fused_adamw_({part(shard.value)}, {part(shard.gradient)}, {part(shard.exp_avg)}, {part(shard.exp_avg_sq)}, {}, {step},
                        learning_rate, options_.beta1, options_.beta2, run.has_weight_decay ? options_.weight_decay : 0.0,
                        options_.eps, /*amsgrad=*/false, /*maximize=*/false);
    }
  }
}

void ZeroAdamw::gather_parameters() {
  for (const Shard& shard : shards_) {
    if (shard.source.replicas->size() == 1) continue;
    const at::Tensor own = shard.value.clone();  // the run is part of the receive buffer
    shard.source.replicas->all_gather(buffer(own), buffer(shard.source.group->values), shard.layout.counts).wait();
  }
}

std::vector<StatePiece> ZeroAdamw::state() const {
  std::vector<StatePiece> pieces;
  for (const Shard& shard : shards_) {
    std::int64_t next = -shard.begin;  // begin of the parameter, within the shard
    for (const model::Parameter& parameter : shard.source.group->parameters) {
      const std::int64_t parameter_begin = next;
      next += parameter.value.numel();
      const std::int64_t begin = std::max<std::int64_t>(0, parameter_begin);
      const std::int64_t count = std::min(next, shard.count) - begin;
      if (count <= 0) continue;
      const std::int64_t global_begin = parameter.global_begin + begin - parameter_begin;
      for (const auto& [kind, flat] :
           {std::pair{"value", shard.value}, std::pair{"exp_avg", shard.exp_avg}, std::pair{"exp_avg_sq", shard.exp_avg_sq}}) {
        pieces.push_back({parameter.name, kind, parameter.global_shape, global_begin, flat.narrow(0, begin, count)});
      }
    }
  }
  return pieces;
}

void ZeroAdamw::set_num_updates(std::int64_t num_updates) {
  if (num_updates < 0) throw std::invalid_argument(fmt::format("ZeroAdamw: {} updates", num_updates));
  num_updates_ = num_updates;
}

}  // namespace ballast::optim
