#include "kernels/adamw/adamw.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>

#include <map>
#include <vector>

#include "kernels/tensor_check.h"

namespace ballast::kernels {

void adamw(const at::Tensor& value, const at::Tensor& gradient, const at::Tensor& m, const at::Tensor& v, std::int64_t step,
           const AdamWOptions& options, std::span<const AdamWRun> runs) {
  check_floating("adamw", "value", value, {kAnySize});
  check_same_type("adamw", "gradient", gradient, value, value.sizes());
  check_same_type("adamw", "m", m, value, value.sizes());
  check_same_type("adamw", "v", v, value, value.sizes());
  TORCH_CHECK(step >= 1, "adamw: step is ", step, ", wanted 1 or more");

  struct Runs {
    std::vector<at::Tensor> values, gradients, ms, vs, steps;
  };
  std::map<double, Runs> by_decay;
  const at::AutoDispatchBelowADInplaceOrView no_graph;
  const at::Tensor step_tensor = at::full({}, static_cast<double>(step), at::TensorOptions(at::kFloat));
  std::int64_t covered = 0;
  for (const auto& run : runs) {
    TORCH_CHECK(run.begin == covered && run.end >= run.begin, "adamw: run [", run.begin, ", ", run.end, ") after element ",
                covered, ", wanted runs in order without gaps");
    covered = run.end;
    TORCH_CHECK(covered <= value.numel(), "adamw: runs reach element ", covered, " of ", value.numel());
    if (run.begin == run.end) {
      continue;
    }
    auto& same = by_decay[run.weight_decay];
    const auto part = [&run](const at::Tensor& whole) { return whole.narrow(0, run.begin, run.end - run.begin); };
    same.values.push_back(part(value));
    same.gradients.push_back(part(gradient));
    same.ms.push_back(part(m));
    same.vs.push_back(part(v));
    same.steps.push_back(step_tensor);
  }
  TORCH_CHECK(covered == value.numel(), "adamw: runs end at element ", covered, ", wanted ", value.numel());
  for (const auto& [weight_decay, same] : by_decay) {
    at::_fused_adamw_(same.values, same.gradients, same.ms, same.vs, {}, same.steps, options.learning_rate, options.beta1,
                      options.beta2, weight_decay, options.eps, false, false);
  }
}

}  // namespace ballast::kernels
