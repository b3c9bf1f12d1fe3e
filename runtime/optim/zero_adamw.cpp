#include "runtime/optim/zero_adamw.h"

#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "runtime/model/tensor_buffer.h"
#include "runtime/optim/grad_clip.h"

namespace ballast::optim {
namespace {

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

std::vector<ZeroAdamw::Overlap> ZeroAdamw::overlaps(const Shard& shard) {
  std::vector<Overlap> all;
  std::int64_t next = -shard.begin;  // where the parameter begins, within the shard
  for (const model::Parameter& parameter : shard.source.group->parameters) {
    const std::int64_t parameter_begin = next;
    next += parameter.value.numel();
    const std::int64_t begin = std::max<std::int64_t>(0, parameter_begin);
    const std::int64_t end = std::min(next, shard.count);
    if (begin < end) all.push_back({parameter, begin, end, begin - parameter_begin});
  }
  return all;
}

ZeroAdamw::Shard ZeroAdamw::make_shard(const ReplicatedGroup& source) const {
  check_group(source);
  const model::ParameterGroup& group = *source.group;
  Shard shard;
  shard.source = source;
  shard.layout = make_shard_layout(group.values.numel(), source.replicas->size());
  shard.begin = shard.layout.begins[source.replicas->rank()];
  shard.count = shard.layout.counts[source.replicas->rank()];
  shard.value = group.values.narrow(0, shard.begin, shard.count);
  shard.gradient = group.gradients.narrow(0, shard.begin, shard.count);
  shard.exp_avg = at::zeros({shard.count}, group.values.options());
  shard.exp_avg_sq = at::zeros({shard.count}, group.values.options());
  for (const Overlap& part : overlaps(shard)) {
    const double weight_decay = part.parameter.has_weight_decay ? options_.weight_decay : 0.0;
    if (!shard.runs.empty() && shard.runs.back().weight_decay == weight_decay) {
      shard.runs.back().end = part.end;
    } else {
      shard.runs.push_back({part.begin, part.end, weight_decay});
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
    const comm::Buffer all = model::buffer(shard.source.group->gradients), own = model::buffer(shard.gradient);
    shard.source.replicas->reduce_scatter(all, own, shard.layout.counts, comm::ReduceOp::kSum).wait();
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
  for (const Shard& shard : shards_) {
    kernels::adamw(shard.value, shard.gradient, shard.exp_avg, shard.exp_avg_sq, num_updates_,
                   {.learning_rate = learning_rate, .beta1 = options_.beta1, .beta2 = options_.beta2, .eps = options_.eps},
                   shard.runs);
  }
}

void ZeroAdamw::gather_parameters() {
  for (const Shard& shard : shards_) {
    const comm::Buffer own = model::buffer(shard.value), all = model::buffer(shard.source.group->values);
    shard.source.replicas->all_gather(own, all, shard.layout.counts).wait();
  }
}

std::vector<StatePiece> ZeroAdamw::state() const {
  std::vector<StatePiece> pieces;
  for (const Shard& shard : shards_) {
    for (const Overlap& part : overlaps(shard)) {
      for (const auto& [kind, flat] :
           {std::pair{"value", shard.value}, std::pair{"exp_avg", shard.exp_avg}, std::pair{"exp_avg_sq", shard.exp_avg_sq}}) {
        pieces.push_back({part.parameter.name, kind, part.parameter.global_shape,
                          part.parameter.global_begin + part.begin_in_parameter,
                          flat.narrow(0, part.begin, part.end - part.begin)});
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
