#pragma once
// Gradients of weights that wait until a rank has nothing better to do.
#include <deque>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "runtime/metrics/phase_clock.h"
#include "runtime/model/parameters.h"

namespace ballast::model {

/// Kernels that add to the gradients of weights, in the order in which they run. They keep the tensors that they read, which
/// nobody changes any more. A kernel's time belongs to the phase in which it was added.
class WeightGradients {
 public:
  /// Input: the clock outlives the kernels.
  explicit WeightGradients(metrics::PhaseClock& clock) : clock_(&clock) {}

  void add(std::function<void()> run) { kernels_.push_back({clock_->current(), std::move(run)}); }
  /// dweight += dy^T x. Shapes: dy_TF, x_TD.
  void add_linear(const at::Tensor& dy_TF, const at::Tensor& x_TD, const Weight& weight_FD);
  /// The same for each expert. Input: `offsets` live until the kernel has run.
  void add_grouped_linear(const at::Tensor& dy_RF, const at::Tensor& x_RD, const Weight& weight_EFD,
                          std::span<const std::int64_t> offsets);
  /// dweight += sum of the rows of dy. Shapes: dy_TF.
  void add_bias(const at::Tensor& dy_TF, const Weight& weight_F);
  /// dweight += part, which was computed along with something else.
  void add_part(const at::Tensor& part, const Weight& weight);
  void append(WeightGradients more);

  bool is_empty() const { return next_ == kernels_.size(); }
  /// Input: not empty.
  void run_one();

 private:
  struct Kernel {
    metrics::StepPhase phase;
    std::function<void()> run;
  };

  metrics::PhaseClock* clock_;
  std::vector<Kernel> kernels_;
  std::size_t next_ = 0;
};

/// A queue of layers' weight gradients. They run in the order in which they came, whatever the timing, so sums have the same
/// bits. Memory: of each layer that waits, the gradients of the outputs of its linear layers.
class WaitingWeightGradients {
 public:
  /// Input: of more than `most_layers` layers the oldest runs at once.
  explicit WaitingWeightGradients(int most_layers) : most_layers_(static_cast<std::size_t>(most_layers)) {}
  void add_layer(WeightGradients layer);
  /// Runs a kernel; false: none waits.
  bool run_one();
  void run_all();

 private:
  std::size_t most_layers_;
  std::deque<WeightGradients> layers_;  ///< none empty
};

}  // namespace ballast::model
