#include "runtime/model/weight_gradients.h"

#include <ATen/core/Tensor.h>

#include <iterator>
#include <utility>

#include "kernels/grouped_linear/grouped_linear.h"
#include "kernels/linear/linear.h"

namespace ballast::model {

void WeightGradients::add_linear(const at::Tensor& dy_TF, const at::Tensor& x_TD, const Weight& weight_FD) {
  add([=, gradient = weight_FD.gradient] { kernels::accumulate_linear_weight_gradient(dy_TF, x_TD, gradient); });
}

void WeightGradients::add_grouped_linear(const at::Tensor& dy_RF, const at::Tensor& x_RD, const Weight& weight_EFD,
                                         std::span<const std::int64_t> offsets) {
  add([=, gradient = weight_EFD.gradient] {
    kernels::accumulate_grouped_linear_weight_gradient(dy_RF, x_RD, gradient, offsets);
  });
}

void WeightGradients::add_bias(const at::Tensor& dy_TF, const Weight& weight_F) {
  add([=, gradient = weight_F.gradient] { gradient.add_(dy_TF.sum(0)); });
}

void WeightGradients::add_part(const at::Tensor& part, const Weight& weight) {
  add([=, gradient = weight.gradient] { gradient.add_(part); });
}

void WeightGradients::append(WeightGradients more) {
  std::move(more.kernels_.begin(), more.kernels_.end(), std::back_inserter(kernels_));
}

void WeightGradients::run_one() {
  Kernel& kernel = kernels_[next_++];
  const metrics::PhaseClock::Scope phase(*clock_, kernel.phase);
  kernel.run();
  kernel.run = nullptr;  // gives up what it read
}

void WaitingWeightGradients::add_layer(WeightGradients layer) {
  if (!layer.is_empty()) layers_.push_back(std::move(layer));
  while (layers_.size() > most_layers_) run_one();
}

bool WaitingWeightGradients::run_one() {
  if (layers_.empty()) return false;
  layers_.front().run_one();
  if (layers_.front().is_empty()) layers_.pop_front();
  return true;
}

void WaitingWeightGradients::run_all() {
  while (run_one()) {
  }
}

}  // namespace ballast::model
